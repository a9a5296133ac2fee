"""
Compute for too long
====================

It never ends, and is busy.
"""

# sphinx_gallery_time_limit = 0.5

# %%
# It counts.

while True: pass

"""
Compute for too long
====================

It never ends, and is busy.
"""

# sphinx_gallery_time_limit = 2

# %%
# It counts.

while True: pass

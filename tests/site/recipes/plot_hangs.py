"""
Hang
====

It never ends.
"""

# sphinx_gallery_time_limit = 0.3

import time

# %%
# It sleeps.

print("before")
time.sleep(1000)

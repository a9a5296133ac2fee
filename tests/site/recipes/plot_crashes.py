"""
Crash
=====

It is killed by a segmentation fault.
"""

import ctypes

# %%
# The fault.

ctypes.string_at(0)

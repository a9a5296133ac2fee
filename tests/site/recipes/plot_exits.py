"""
Exit
====

It ends its process.
"""

import os

# %%
# The end.

os._exit(3)

"""
Print an address
================

It prints a memory address and a path of this machine.
"""

print("an object at 0x7f0123456789")

# %%
# The folder.

import os

print("in", os.getcwd())

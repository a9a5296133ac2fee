"""
Raise
=====

It fails in its second cell.
"""

print("before")

# %%
# The failure.

raise RuntimeError("as it must")

"""
Differ
======

Its cells print and raise other things under other releases. The documentation of 2.6 has
:func:`torch.export.export` elsewhere, and :func:`torch.export.draft_export` not at all.
"""

print("the same everywhere")

# %%
# A program with symbols.

print("f32[s77, s27] and s77")

# %%
# A number.

print("the result is 33.0")

# %%
# An exception.

try:
    raise ValueError("not like that")
except ValueError as error:
    print(error)

# %%
# Silence.

silence = True

# %%
# The end.

print("the end")

"""
Catch an exception
==================

It catches one exception at the level of the module and one in a function.
"""

import torch

try:
    torch.zeros(2) + torch.zeros(3)
except RuntimeError as error:
    print(error)

# %%
# An exception in a function is the function's own affair.


def careful():
    try:
        raise KeyError("quiet")
    except KeyError:
        return "caught"


print(careful())

# %%
# A message with the stack of the machine in it.

try:
    raise ValueError('why\nStack:\n  File "/a.py", line 3, in f\n    x = 1\nEnd')
except ValueError:
    print("caught")

# %%
# An exception that was raised from another one, and a warning that was recorded.

import warnings

try:
    raise RuntimeError("outer") from KeyError("inner")
except RuntimeError:
    print("caught")

with warnings.catch_warnings(record=True) as recorded:
    warnings.simplefilter("always")
    warnings.warn("look out", DeprecationWarning)

"""
Depend on another recipe
========================

It prints what only a leak from another recipe could have left.
"""

import builtins

import torch

print(hasattr(builtins, "left_by_before"), torch.get_default_dtype())

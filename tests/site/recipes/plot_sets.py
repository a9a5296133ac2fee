"""
Change settings
===============

It changes the default dtype, a configuration and the environment, and moves away.
"""

import os

import torch

torch.set_default_dtype(torch.float64)
torch._dynamo.config.cache_size_limit = 3
os.environ["COOKBOOK"] = "changed"

# %%
# It moves.

os.chdir("/")

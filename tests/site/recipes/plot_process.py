"""
Look at the process
===================

It prints what the process of a recipe is given.
"""

import os
import sys

import torch

print(os.environ["OMP_NUM_THREADS"], torch.get_num_threads())

# %%
# A program, of which a picture is drawn.


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) + 1


ep = torch.export.export(Model(), (torch.zeros(3),))

# %%
# Our own modules, but for those of the room that runs recipes.

ours = [name for name in sys.modules if name.partition(".")[0] == "_ext"]
print(*sorted(name for name in ours if not name.startswith("_ext.run.")))

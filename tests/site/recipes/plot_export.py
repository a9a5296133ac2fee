"""
.. _l-export:

Export a model
==============

It prints the exported program, with :func:`torch.export.export`.
"""

import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) + 1


# %%
# The program.

ep = torch.export.export(Model(), (torch.zeros(3),))
print(ep)

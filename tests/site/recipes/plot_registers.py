"""
Register a type
===============

It registers a class in both registries of torch and forgets it.
"""

import torch


class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b


torch.utils._pytree.register_pytree_node(
    Pair,
    lambda pair: ([pair.a, pair.b], None),
    lambda values, _: Pair(*values),
    serialized_type_name="Pair",
)
torch.fx._pytree.register_pytree_flatten_spec(Pair, lambda pair, _: [pair.a, pair.b])

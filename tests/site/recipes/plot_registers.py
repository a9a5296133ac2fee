"""
Register a type
===============

It registers a class of another module in both registries of torch and forgets it. Its
own class is nobody else's.
"""

from fractions import Fraction

import torch


class Pair:
    def __init__(self, numerator, denominator):
        self.numerator, self.denominator = numerator, denominator


def parts(value, *_):
    return [value.numerator, value.denominator]


for cls in (Pair, Fraction):
    torch.utils._pytree.register_pytree_node(
        cls,
        lambda value: (parts(value), None),
        lambda values, _: Fraction(*values),
        serialized_type_name=cls.__name__,
    )
    torch.fx._pytree.register_pytree_flatten_spec(cls, parts)

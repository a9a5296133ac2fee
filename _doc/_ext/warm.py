"""What a recipe's process finds done before it starts."""

import torch

"""One mask for all clients, made of the merged weights themselves: no mask has to travel."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fedklpr_flwr.algorithm.masks import Tensors
from fedklpr_flwr.algorithm.smallest_weights import without_smallest


def largest_kept(tensors: Tensors, names: Sequence[str], density: float) -> dict[str, Tensor]:
    """Keeps each tensor's largest |w|, the same share of every tensor.

    Whoever holds the same numbers gets the same masks, whatever was pruned before: merged weights
    that were pruned are zero, and go first. Equal magnitudes go in the order of their index.

    Args:
        tensors: name -> float tensor on the host; read only.
        names: the prunable ones.
        density: the share kept, in (0, 1]; of n weights ceil(density n), and always one.

    Returns:
        name -> bool tensor; all True at density 1.

    Raises:
        WeightsError: a weight is NaN or infinite.

    Source: FLASH's JMWST (2208.13092): the server's mask is the top k of the merged weights.
    """
    masks = {}
    for name in names:
        whole = torch.ones_like(tensors[name], dtype=torch.bool)
        # 0.7 * 10 is a hair over 7 in floats, and must not keep 8.
        kept = max(1, math.ceil(density * whole.numel() * (1 - 1e-9)))
        masks[name] = without_smallest(name, tensors[name], whole, max(whole.numel() - kept, 0))
    return masks

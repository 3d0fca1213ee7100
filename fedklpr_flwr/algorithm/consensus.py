"""One mask for all clients, made of the merged weights themselves: no mask has to travel."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fedklpr_flwr.algorithm.masks import Tensors
from fedklpr_flwr.algorithm.smallest_weights import shares_of_network, without_smallest


def largest_kept(
    tensors: Tensors, names: Sequence[str], density: float, scope: str = "layer"
) -> dict[str, Tensor]:
    """Keeps the largest |w|.

    Whoever holds the same numbers gets the same masks, whatever was pruned before: merged weights
    that were pruned are zero, and go first. Equal magnitudes go in the order of their index.

    Args:
        tensors: name -> float tensor on the host; read only.
        names: the prunable ones.
        density: the share kept, in (0, 1]; of n weights ceil(density n), and of each tensor one.
        scope: layer = the largest of each tensor, the same share of every one; network = of all
            together.

    Returns:
        name -> bool tensor; all True at density 1.

    Raises:
        WeightsError: a weight is NaN or infinite.

    Source: FLASH's JMWST (2208.13092): the server's mask is the top k of the merged weights.
    """
    whole = {name: torch.ones_like(tensors[name], dtype=torch.bool) for name in names}
    if scope == "network":
        doomed = _doomed(sum(mask.numel() for mask in whole.values()), density)
        counts = shares_of_network(tensors, whole, doomed)
    else:
        counts = {name: _doomed(mask.numel(), density) for name, mask in whole.items()}
    return {
        name: without_smallest(name, tensors[name], mask, counts[name])
        for name, mask in whole.items()
    }


def _doomed(count: int, density: float) -> int:
    # 0.7 * 10 is a hair over 7 in floats, and must not keep 8.
    return max(count - max(1, math.ceil(density * count * (1 - 1e-9))), 0)

"""Weights that come back: the smallest kept ones change places with the most wanted pruned ones.

A prune judges a weight by its size today; a gradient tells which of the pruned ones training would
move first. The number of kept weights of each tensor stays what it was.
"""

import math

from torch import Tensor

from fedklpr_flwr.algorithm.masks import Masks, Tensors, check_fit
from fedklpr_flwr.algorithm.smallest_weights import without_smallest


def regrow_share(first: float, round_number: int, rounds: int) -> float:
    """Gives the share of the kept weights that change places in a round.

        a_t = a_0 / 2 (1 + cos(pi t / T))

    Args:
        first: a_0, in [0, 1).
        round_number: t, 0..T.
        rounds: T, >= 1.

    Returns:
        a_0 at t = 0, half of it half-way, 0 at t = T.

    Source: FedDST (Bibikar et al. 2022), RigL (Evci et al. 2020).
    """
    return first / 2 * (1 + math.cos(math.pi * round_number / rounds))


def regrown_masks(
    tensors: Tensors, masks: Masks, gradients: Tensors, share: float
) -> dict[str, Tensor]:
    """Drops the smallest of the kept weights and keeps as many of the largest gradient instead.

    Args:
        tensors: name -> float tensor; read only.
        masks: name -> bool tensor of the same shape; read only.
        gradients: name -> float tensor of the same shape, of one batch through the masks.
        share: of the kept weights of each tensor, in [0, 1); no more change places than are pruned.

    Returns:
        New masks with as many kept weights a tensor. A weight that comes back should start at 0;
        one that was dropped may be the one that comes back.

    Raises:
        WeightsError: a mask or gradient does not fit its tensor, or a number of them is not finite.

    Source: FedDST: prune to density d (1 - a), then grow back to d where |gradient| is largest.
    """
    grown = {}
    for name, mask in masks.items():
        check_fit(tensors, name, mask)
        check_fit(gradients, name, mask)
        kept = int(mask.sum())
        count = min(int(share * kept), mask.numel() - kept)
        left = without_smallest(name, tensors[name], mask, count)
        # Of those outside, all but the `count` largest gradients stay outside.
        outside = ~left
        unwanted = int(outside.sum()) - count
        back = without_smallest(name, gradients[name], outside, unwanted) if count else mask
        grown[name] = left | back if count else mask
    return grown

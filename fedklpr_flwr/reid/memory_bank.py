"""Rows of a memory follow the features that belong to them, one picture after the other."""

import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.device_copy import copied_to


@torch.no_grad()
def moved_rows(memory: Tensor, features: Tensor, rows: Tensor, momentum: float) -> Tensor:
    """Move each picture's row towards its feature.

    M_y <- normalise(momentum M_y + (1 - momentum) f), in the order of the pictures.

    Args:
        memory: (M,D) float32, rows of unit length or zero; left as it is.
        features: (B,D) float32, rows of unit length.
        rows: (B,) int64, each picture's own row, no outliers; on the host, so that a memory on a
            device need not be waited for.
        momentum: in [0,1], the share of the old row that stays; 0 takes the newest feature, 1
            changes nothing. A row of zeros becomes its first feature, whatever the momentum.

    Returns:
        (M,D), a new memory: the old one may still be needed for a backward pass.
    """
    turns = _turns(rows)
    moved = memory.clone()
    order = torch.cat(turns) if turns else rows[:0]
    pictures, places = copied_to(torch.stack([order, rows[order]]), memory.device)
    sizes = [len(turn) for turn in turns]
    for now, own in zip(pictures.split(sizes), places.split(sizes), strict=True):
        step = torch.lerp(features[now], moved[own], momentum)
        moved[own] = functional.normalize(step, dim=1)
    return moved


def _turns(rows: Tensor) -> list[Tensor]:
    """Cut pictures into turns, none with two pictures of one row: (B,) places in all."""
    turns = []
    waiting = torch.arange(len(rows))
    while len(waiting):
        # Different rows do not touch one another, so the first picture of each goes at once.
        earlier = (rows[waiting][:, None] == rows[waiting][None, :]).tril(-1).any(dim=1)
        turns.append(waiting[~earlier])
        waiting = waiting[earlier]
    return turns

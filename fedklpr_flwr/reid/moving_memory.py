"""Rows of a memory follow the features that belong to them, one picture after the other."""

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def moved_rows(memory: Tensor, features: Tensor, rows: Tensor, momentum: float) -> Tensor:
    """Move each picture's row towards its feature.

    M_y <- normalise(momentum M_y + (1 - momentum) f), in the order of the pictures.

    Args:
        memory: (M,D) float32, rows of unit length or zero; left as it is.
        features: (B,D) float32, rows of unit length.
        rows: (B,) int64, each picture's own row, no outliers.
        momentum: in [0,1], the share of the old row that stays; 0 takes the newest feature, 1
            changes nothing. A row of zeros becomes its first feature, whatever the momentum.

    Returns:
        (M,D), a new memory: the old one may still be needed for a backward pass.
    """
    moved = memory.clone()
    waiting = torch.arange(len(rows), device=rows.device)
    while len(waiting):
        # Different rows do not touch one another, so the first picture of each goes at once.
        earlier = (rows[waiting][:, None] == rows[waiting][None, :]).tril(-1).any(dim=1)
        now = waiting[~earlier]
        step = torch.lerp(features[now], moved[rows[now]], momentum)
        moved[rows[now]] = functional.normalize(step, dim=1)
        waiting = waiting[earlier]
    return moved

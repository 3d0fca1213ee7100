"""Prunes the smallest weights: how many go from each tensor, and which of them."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.algorithm.masks import Masks, Tensors, check_fit
from fedklpr_flwr.errors import SettingsError, WeightsError

SCOPES = ("layer", "network")


def prune_smallest(
    tensors: Tensors,
    masks: Masks,
    rate: float,
    *,
    floor_density: float = 0.0,
    scope: str = "layer",
) -> dict[str, Tensor]:
    """Prunes the given share of the surviving weights, the smallest |w| of a layer or of all.

    The last step is shrunk, so that the target is hit exactly: at least ceil(floor_density * N)
    of the N prunable weights are kept over all tensors. A tensor always keeps one weight. Equal
    magnitudes go in the order of their index, so that the result is the same everywhere.

    Args:
        tensors: name -> float tensor; read only.
        masks: name -> bool tensor of the same shape; read only.
        rate: share of the surviving weights to prune now, in [0, 1).
        floor_density: 1 - target, the density never gone below, in [0, 1].
        scope: one of SCOPES. `layer`: each tensor gives in proportion to what it has left (largest
            remainder). `network`: magnitudes are compared over all tensors, so that wide layers of
            small weights give more.

    Returns:
        New masks, subsets of the old; equal to the old ones with rate = 0 or at the floor.

    Raises:
        SettingsError: rate or floor_density out of range, an unknown scope.
        WeightsError: a mask does not fit its tensor, or a surviving weight is NaN or infinite.

    Source: LotteryFL and Sub-FedAvg, per-layer percentile of the surviving magnitudes; over the
        network: Han et al. 2015, Frankle and Carbin 2019 (its deeper networks).
    """
    if not 0 <= rate < 1:
        raise SettingsError(f"the pruning rate must be in [0, 1), it is {rate}: change it")
    if not 0 <= floor_density <= 1:
        raise SettingsError(f"the density floor must be in [0, 1], it is {floor_density}")
    if scope not in SCOPES:
        raise SettingsError(f"pruning.scope must be one of {SCOPES}, it is {scope!r}")
    alive = {name: int(torch.count_nonzero(mask)) for name, mask in masks.items()}
    for name, mask in masks.items():
        check_fit(tensors, name, mask)
    total = sum(mask.numel() for mask in masks.values())
    # The small subtraction keeps 0.7 * 10 (a hair over 7 in floats) from asking for 8.
    room = sum(alive.values()) - math.ceil(floor_density * total - 1e-9 * total)
    doomed = min(round(rate * sum(alive.values())), max(room, 0))
    if scope == "layer":
        shares = shares_of_layers(alive, doomed)
    else:
        shares = shares_of_network(tensors, masks, doomed)
    return {
        name: without_smallest(name, tensors[name], masks[name], count)
        for name, count in shares.items()
    }


def shares_of_layers(alive: Mapping[str, int], doomed: int) -> dict[str, int]:
    """Splits `doomed` among the tensors in proportion to what each has left, in whole weights.

    Args:
        alive: name -> surviving weights.
        doomed: how many weights go in all.

    Returns:
        name -> weights that go; every tensor keeps one.
    """
    total = max(sum(alive.values()), 1)
    shares = {name: doomed * count // total for name, count in alive.items()}
    by_remainder = sorted(alive, key=lambda name: -(doomed * alive[name] % total))
    left = doomed - sum(shares.values())
    for name in by_remainder:
        if left > 0 and shares[name] < alive[name] - 1:
            shares[name] += 1
            left -= 1
    return {name: min(share, max(alive[name] - 1, 0)) for name, share in shares.items()}


def shares_of_network(tensors: Tensors, masks: Masks, doomed: int) -> dict[str, int]:
    """Says how many of the smallest |w| of all tensors together lie in each.

    Args:
        tensors: name -> float tensor.
        masks: name -> bool tensor of the same shape.
        doomed: how many weights go in all.

    Returns:
        name -> weights that go; every tensor keeps one. Of equal ones the first tensors' go.

    Raises:
        WeightsError: a surviving weight is NaN or infinite.
    """
    if doomed == 0:
        return dict.fromkeys(masks, 0)
    magnitudes = {name: _magnitudes(name, tensors[name], mask) for name, mask in masks.items()}
    together = np.concatenate(list(magnitudes.values()))
    together.partition(doomed - 1)
    threshold = together[doomed - 1]
    most = {name: max(values.size - 1, 0) for name, values in magnitudes.items()}
    below = {name: int((values < threshold).sum()) for name, values in magnitudes.items()}
    shares = {name: min(count, most[name]) for name, count in below.items()}
    left = doomed - sum(below.values())
    for name, values in magnitudes.items():
        more = min(left, int((values == threshold).sum()), most[name] - shares[name])
        shares[name] += more
        left -= more
    return shares


def without_smallest(name: str, tensor: Tensor, mask: Tensor, count: int) -> Tensor:
    """Gives the mask less the `count` surviving weights of smallest magnitude.

    Args:
        name: the tensor's name, for errors.
        tensor: float.
        mask: bool, of the same shape.
        count: how many go, less than survive.

    Returns:
        A new mask.

    Raises:
        WeightsError: a surviving weight is NaN or infinite.
    """
    if count == 0:
        return mask.clone()
    keep = mask.detach().cpu().numpy().reshape(-1)
    magnitudes = _magnitudes(name, tensor, mask)
    threshold = np.partition(magnitudes, count - 1)[count - 1]
    survives = magnitudes > threshold
    # Of the weights equal to the threshold, the last by index are kept.
    spared = len(magnitudes) - int(np.count_nonzero(survives)) - count
    if spared > 0:
        survives[np.flatnonzero(magnitudes == threshold)[-spared:]] = True
    pruned = np.zeros_like(keep)
    pruned[keep] = survives
    return torch.from_numpy(pruned.reshape(mask.shape)).to(mask.device)


def _magnitudes(name: str, tensor: Tensor, mask: Tensor) -> NDArray[np.float32]:
    """Gives the surviving |w|, in index order."""
    keep = mask.detach().cpu().numpy().reshape(-1)
    magnitudes: NDArray[np.float32] = np.abs(
        tensor.detach().float().cpu().numpy().reshape(-1)[keep]
    )
    if not np.isfinite(np.max(magnitudes, initial=0.0)):
        raise WeightsError(
            f"the weights of {name!r} must be finite to be pruned, some are NaN or infinite: "
            "training has diverged, lower the learning rate"
        )
    return magnitudes

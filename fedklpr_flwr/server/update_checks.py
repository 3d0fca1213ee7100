"""What a payload really holds, found out before it may take part in a merge."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fedklpr_flwr.algorithm.masks import mask_hash, pruning_ratio
from fedklpr_flwr.algorithm.merge.contribution import Array
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import Masks
from fedklpr_flwr.protocol.update_codec import Arrays, open_update
from fedklpr_flwr.server.robust.norm_bound import Lengths, norm_bound, squared_distance
from fedklpr_flwr.server.robust.update_sketch import (
    Places,
    SampledChange,
    sampled_change,
    sampled_places,
)
from fedklpr_flwr.wire.entropy_bound import bound_bytes, change_bound_bytes
from fedklpr_flwr.wire.layout import Layout, TensorSpec
from fedklpr_flwr.wire.payload import Payload, Spent

LARGEST_WEIGHT = 3e4
"""No weight of an update is larger: float16, in which it may go down again, ends at 65504."""

LARGEST_OTHER = 1e9
"""No bias or batch-norm statistic is: its square, and any mean, is far from float32's end."""

_FARTHEST = 10.0
"""Times the length of the model's own weights that no round moves them, where updates are bounded:
the only bound on a length that needs no median, so the only one of two clients."""

_GROWTH_WEIGHT, _GROWTH_OTHER = 1e2, 1e4
"""Times the largest number of a tensor as it was sent, or 1 where that is less, that no round of
training reaches. Adam moves a weight by its learning rate a step; a variance that begins at 1 may
find thousands in its pictures. ImageNet's MobileNetV2 has weights up to 4.9, others up to 77."""


@dataclass(frozen=True)
class Inspection:
    """What a payload really holds, whatever its sender says."""

    masks: dict[str, torch.Tensor]
    mask_hash: str
    pruned: float
    spent: Spent
    bound: int
    lengths: Lengths
    change: SampledChange | None


def inspect_update(
    payload: Path, layout: Layout, known_masks: Masks, sent: Arrays, settings: Settings
) -> Inspection:
    """Decode an update once, tensor by tensor on all cores, before it may take part in a merge.

    Args:
        payload: the file it lies in.
        layout: the tensors of the model.
        known_masks: the masks it builds on.
        sent: the model that went down before it.
        settings: the run's settings.

    Raises:
        WireError: damaged, of another model, not finite, larger than a network's numbers are, or
            pruned beyond the target, and further than before.
    """
    places, is_measured = sampled_places(layout, settings), norm_bound(settings) is not None
    opened = open_update(payload, layout, known_masks, sent, settings)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        inspect = partial(_inspect_tensor, opened, sent, places, is_measured)
        looks = list(pool.map(inspect, layout))
    masks = {
        spec.name: torch.from_numpy(look.mask)
        for spec, look in zip(layout, looks, strict=True)
        if look.mask is not None
    }
    pruned, target = pruning_ratio(masks) if masks else 0.0, settings.pruning.target
    if pruned > target + 1e-3 and pruned > pruning_ratio(known_masks) + 1e-3:
        raise WireError(f"pruned {pruned:.3f} of its weights, more than the target {target:.3f}")
    squares = [0.0, 0.0]
    for spec, look in zip(layout, looks, strict=True):
        squares[len(spec.shape) < 2] += look.apart
    _check_distance(squares[0], sum(look.own for look in looks))
    changes = [look.change for look in looks if look.change is not None]
    return Inspection(
        masks,
        mask_hash(masks),
        pruned,
        spent=opened.spent,
        bound=round(sum(look.bound for look in looks)),
        lengths=(float(np.sqrt(squares[0])), float(np.sqrt(squares[1]))),
        change=SampledChange.joined(changes) if changes else None,
    )


class _Look(NamedTuple):
    """One tensor of an update: what `Inspection` sums up, and its mask where it may be pruned."""

    mask: Array | None
    bound: float
    apart: float
    own: float
    change: SampledChange | None


def _inspect_tensor(
    payload: Payload,
    sent: Arrays,
    places: Mapping[str, Places],
    is_measured: bool,
    spec: TensorSpec,
) -> _Look:
    (_, mask, values), symbols = payload.tensor_and_symbols(spec.name)
    before, change, whole = sent[spec.name], None, mask
    _check_size(values, spec, before)
    if spec.name in places:
        change = sampled_change(places[spec.name], values, mask, before)
    if mask is None and spec.prunable:
        whole = np.ones(spec.shape, np.bool_)
    return _Look(
        whole if spec.prunable else None,
        change_bound_bytes(symbols, values.size, spec.size, mask is not None)
        if payload.is_change
        else bound_bytes(values, spec.size, mask is not None),
        squared_distance(values, mask, before) if is_measured else 0.0,
        _squared_length(before) if is_measured and len(spec.shape) >= 2 else 0.0,
        change,
    )


def _squared_length(values: np.ndarray) -> float:
    flat = values.reshape(-1).astype(np.float64)
    return float(flat @ flat)


def _check_distance(apart: float, own: float) -> None:
    """Refuse weights that lie farther from the model than any training takes them.

    Args:
        apart: |theta_k - sent|^2 of the weights; 0 where it was not measured.
        own: |sent|^2 of the same.
    """
    if apart > _FARTHEST**2 * own:
        raise WireError(
            f"length of the weights' change: expected at most {_FARTHEST:g} times the model's own "
            f"{own**0.5:.3g}, got {apart**0.5:.3g}; the update is damaged, or its training went "
            "astray"
        )


def largest_honest(spec: TensorSpec, sent: np.ndarray) -> float:
    """Say beyond what no number of a tensor is after a round of training from what was sent."""
    is_weight = len(spec.shape) >= 2
    growth, most = (_GROWTH_WEIGHT, LARGEST_WEIGHT) if is_weight else (_GROWTH_OTHER, LARGEST_OTHER)
    return min(most, growth * max(1.0, float(np.abs(sent).max(initial=0.0))))


def _check_size(values: np.ndarray, spec: TensorSpec, sent: np.ndarray) -> None:
    """A finite number may still spoil the merge, or be beyond what the downlink's form can say."""
    largest = largest_honest(spec, sent)
    found = float(np.abs(values).max(initial=0.0))
    if not found <= largest:  # NaN neither; the wire has refused it before
        raise WireError(
            f"values of {spec.name}: expected none beyond {largest:g}, got {found:g}; the update "
            "is damaged, or its training went astray"
        )
    if spec.name.endswith("running_var") and values.min(initial=0.0) < 0:
        raise WireError(
            f"values of {spec.name}: a variance is never below zero, got {values.min():g}; every "
            "site's network would give no number any more"
        )

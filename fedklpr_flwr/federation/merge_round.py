"""The server's half of a round: updates, in client-name order, become weights and one merged model.

Nothing here holds a client's model: an update is a payload file that is decoded tensor by tensor,
and a client's mask is a file read the same way.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.algorithm.merge_part import ValueSource
from fedklpr_flwr.algorithm.merging import Contribution, Contributor, merge_model
from fedklpr_flwr.algorithm.pruning import mask_hash, pruning_ratio
from fedklpr_flwr.algorithm.update import TrainingReport
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.federation.alignment import Agreement, Change, ChangeMeter, sampled_places
from fedklpr_flwr.federation.defence import LengthMeter, Lengths, ShortenedValues, norm_bound
from fedklpr_flwr.federation.mask_file import Masks
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.round_weights import MergeNotes, weigh_round
from fedklpr_flwr.federation.update_coding import Arrays, open_update, open_updates
from fedklpr_flwr.wire.bound import bound_bytes
from fedklpr_flwr.wire.layout import Layout, TensorSpec
from fedklpr_flwr.wire.payload import Payload

LARGEST_WEIGHT = 3e4
"""No weight of an update is larger: float16, in which it may go down again, ends at 65504."""

LARGEST_OTHER = 1e9
"""No bias or batch-norm statistic is: its square, and any mean, is far from float32's end."""


@dataclass(frozen=True)
class Arrival:
    """One valid update that waits for the merge.

    Attributes:
        client: its name; merging goes in the order of names.
        report: its scalars, with `pruned` computed from the mask itself.
        payload: the file its tensors lie in.
        known_masks: the masks the payload builds on.
        lengths: how far it lies from the model that was sent.
        change: what it changes at some weights; None where `defence.alignment` is off.
    """

    client: str
    report: TrainingReport
    payload: Path
    known_masks: Masks
    lengths: Lengths = (0.0, 0.0)
    change: Change | None = None


@dataclass(frozen=True)
class Inspection:
    """What a payload really holds, whatever its sender says."""

    masks: dict[str, torch.Tensor]
    mask_hash: str
    pruned: float
    kept: int
    bound: int
    lengths: Lengths
    change: Change | None


def inspect_update(
    payload: Path, layout: Layout, known_masks: Masks, sent: Arrays, settings: Settings
) -> Inspection:
    """Decode an update once, tensor by tensor, before it may take part in a merge.

    Args:
        payload: the file it lies in.
        layout: the tensors of the model.
        known_masks: the masks it builds on.
        sent: the model that went down before it.
        settings: the run's settings.

    Raises:
        WireError: damaged, of another model, not finite, larger than a network's numbers are, or
            pruned beyond the target.
    """
    masks: dict[str, torch.Tensor] = {}
    kept, bound, meter = 0, 0.0, LengthMeter()
    sampler = ChangeMeter(sampled_places(layout, settings))
    bounds_lengths = norm_bound(settings) is not None
    for tensor in open_update(payload, layout, known_masks, sent, settings):
        _check_size(tensor.values, tensor.spec)
        kept += int(tensor.values.size)
        bound += bound_bytes(tensor.values, tensor.spec.size, tensor.mask is not None)
        if bounds_lengths:
            meter.add(tensor.values, tensor.mask, sent[tensor.spec.name])
        sampler.add(tensor.spec.name, tensor.values, tensor.mask, sent[tensor.spec.name])
        if tensor.spec.prunable:
            mask = tensor.mask if tensor.mask is not None else np.ones(tensor.spec.shape, np.bool_)
            masks[tensor.spec.name] = torch.from_numpy(mask)
    pruned, target = pruning_ratio(masks) if masks else 0.0, settings.pruning.target
    if pruned > target + 1e-3:
        raise WireError(f"pruned {pruned:.3f} of its weights, more than the target {target:.3f}")
    whole = mask_hash(masks)
    return Inspection(masks, whole, pruned, kept, round(bound), meter.lengths, sampler.change)


def _check_size(values: np.ndarray, spec: TensorSpec) -> None:
    """A finite number may still spoil the merge, or be beyond what the downlink's form can say."""
    largest = LARGEST_WEIGHT if len(spec.shape) >= 2 else LARGEST_OTHER
    found = float(np.abs(values).max(initial=0.0))
    if found > largest:
        raise WireError(
            f"values of {spec.name}: expected none beyond {largest:g}, got {found:g}; the update "
            "is damaged, or its training went astray"
        )
    if spec.name.endswith("running_var") and values.min(initial=0.0) < 0:
        raise WireError(
            f"values of {spec.name}: a variance is never below zero, got {values.min():g}; every "
            "site's network would give no number any more"
        )


def run_merge_round(
    previous: Arrays,
    sent: Arrays,
    arrivals: Sequence[Arrival],
    layout: Layout,
    settings: Settings,
    before: Mapping[str, Agreement] | None = None,
) -> tuple[dict[str, np.ndarray], MergeNotes]:
    """Merge a round's updates; the result does not depend on the order of arrival.

    Args:
        previous: float32 arrays by name: the global model before the round.
        sent: the same as it went down (`quantise_downlink`).
        arrivals: the valid updates.
        layout: the tensors that travel in this round; the others stay as they are.
        settings: the run's settings.
        before: the clients' agreements in the rounds before, see alignment.py.

    Returns:
        The merged model, and how it was weighed.
    """
    ordered = sorted(arrivals, key=lambda arrival: arrival.client)
    notes = weigh_round(ordered, layout, settings, before or {})
    counted = [a for a in ordered if notes.weight[a.client] > 0]
    threads = os.cpu_count() or 1
    files = [(arrival.payload, arrival.known_masks) for arrival in counted]
    payloads = open_updates(files, layout, sent, settings, threads=threads)

    def contribution(arrival: Arrival, payload: Payload, name: str) -> Contribution:
        """One client's part in a tensor; `inspect_update` has checked its payload."""
        tensor = payload.opened(name)
        # Packed: eight clients' masks wait here, a byte a coordinate would be two models.
        mask = None if tensor.mask is None else np.packbits(tensor.mask)
        values: ValueSource = tensor.values
        factors = notes.shortened.get(arrival.client)
        if factors is not None:
            factor = factors[sent[name].ndim < 2]
            values = ShortenedValues(values, sent[name].reshape(-1), factor)
        return notes.weight[arrival.client], mask, values

    def contributors(name: str) -> list[Contributor]:
        pairs = zip(counted, payloads, strict=True)
        return [partial(contribution, *pair, name) for pair in pairs]

    merged = merge_model(
        {spec.name: previous[spec.name] for spec in layout},
        contributors,
        how=settings.method.merge,
        trim=settings.defence.trim,
        threads=threads,
    )
    return {**previous, **merged}, notes

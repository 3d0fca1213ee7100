"""The server's half of a round: updates, in client-name order, become weights and one merged model.

Nothing here holds a client's model: an update is a payload file that is decoded tensor by tensor,
and a client's mask is a file read the same way.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.algorithm.merge.accumulate import Contributor, merge_model
from fedklpr_flwr.algorithm.merge.contribution import Contribution
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.consensus import (
    consensus_masks,
    cut_by_consensus,
    is_consensus,
)
from fedklpr_flwr.model.mask_file import Masks
from fedklpr_flwr.protocol.change_reference import (
    catches_up,
    change_downlink,
    is_measured,
    tells_changes,
    with_debt,
)
from fedklpr_flwr.protocol.training_report import TrainingReport
from fedklpr_flwr.protocol.update_codec import Arrays, open_updates, quantise_downlink
from fedklpr_flwr.runs.checkpoint import ServerState
from fedklpr_flwr.server.robust.direction_trust import Agreement
from fedklpr_flwr.server.robust.norm_bound import Lengths, ShortenedValues
from fedklpr_flwr.server.robust.update_sketch import Change
from fedklpr_flwr.server.update_weights import MergeNotes, weigh_round
from fedklpr_flwr.wire.layout import Layout
from fedklpr_flwr.wire.payload import Payload


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


Merge = Callable[..., tuple[dict[str, np.ndarray], MergeNotes]]
"""`run_merge_round`, or what takes its place."""


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
        before: the clients' agreements in the rounds before, see direction_trust.py.

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
        weight, factors = notes.weight[arrival.client], notes.shortened.get(arrival.client)
        if factors is None:
            return Contribution(weight, mask, tensor.values)
        factor = factors[sent[name].ndim < 2]
        values = ShortenedValues(tensor.values, sent[name].reshape(-1), factor)
        return Contribution(weight, mask, values)

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


def step_along(merged: dict[str, np.ndarray], sent: Arrays, layout: Layout, rate: float) -> None:
    """Go from the model that was sent along the merged change: theta <- sent + rate (theta - sent).

    Clients whose sites differ move in directions that differ, and their mean is shorter than each
    of them. What was measured and not learnt, batch-norm statistics, stays the mean.

    Args:
        merged: all tensors after the merge; those of the layout are changed.
        sent: float32 arrays by name, the model that the clients began from.
        layout: the tensors that travel in this round.
        rate: the server's learning rate, >= 0; 1 changes nothing.

    Source: Reddi et al., "Adaptive Federated Optimization", 2021 (FedOpt with SGD at the server).
    """
    if rate == 1:
        return
    for spec in layout:
        if not is_measured(spec.name):
            model, start = merged[spec.name], sent[spec.name]
            merged[spec.name] = start + np.float32(rate) * (model - start)


def merge_base(state: ServerState, settings: Settings) -> Arrays:
    """The model that a merge begins from: where changes travel, the one that went down."""
    return state.sent if tells_changes(settings) else state.tensors


def forget_delivered(state: ServerState, settings: Settings) -> None:
    """Nobody holds the model of a new merge yet, absent clients least of all; changed in place.

    A change will build on the one before. Who has not answered to it may have got it all the same,
    and is taken to hold it, unless changes since an earlier one can be sent as well.
    """
    for known in state.clients.values():
        if known.delivered and not catches_up(settings):
            known.holds, known.held_round = known.delivered, state.round
        known.delivered = ""


def hand_down(
    state: ServerState,
    merged: dict[str, np.ndarray],
    masks: Masks,
    layout: Layout,
    settings: Settings,
) -> None:
    """Make a merge the state's model, and prepare what goes down; `state.round` is its round.

    Args:
        state: the federation; changed.
        merged: all tensors after the merge; changed.
        masks: the one mask of all clients, `shared_masks`; what none of them holds any more becomes
            zero, in what changes are told to as well, so that none is told of it.
        layout: those that travel in this round.
        settings: the run's settings.
    """
    if tells_changes(settings):
        merged = with_debt(merged, state.tensors, state.sent)
    for model in (merged, state.sent, state.residual):
        cut_by_consensus(model, masks)
    sent, state.sent, state.tensors = dict(state.sent), {}, merged
    if not tells_changes(settings):
        del sent  # it has been used: with a lossy form it is a model of its own
        state.sent, state.residual = quantise_downlink(merged, state.residual, settings.wire.values)
        return
    kept = {name: float(mask.float().mean()) for name, mask in masks.items()}
    state.change, state.sent = change_downlink(
        state.tensors, sent, layout, settings, state.round, kept
    )


def told_to_all(state: ServerState, settings: Settings) -> bytes:
    """The newest change, where who misses it may be sent it later; empty where nobody is."""
    return state.change if catches_up(settings) else b""


def shared_masks(sent: Arrays, settings: Settings, round_number: int) -> dict[str, torch.Tensor]:
    """The one mask of all clients in a round, by tensor; none where each has its own.

    Args:
        sent: the model that went down before the round.
        settings: the run's settings.
        round_number: the round, 1..R.
    """
    return consensus_masks(sent, settings, round_number) if is_consensus(settings) else {}

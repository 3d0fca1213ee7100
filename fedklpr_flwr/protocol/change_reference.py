"""wire.values=change: both sides tell changes to one reference, and what a step cuts off is owed.

    up:    q_k = Q(theta_k + owed_k - R),   owed_k <- theta_k + owed_k - (R + q_k)
    down:  q   = Q(W - R),  R <- R + q,     W = merged + (W before - R before)

R is the model that went down last, known to both sides by its payload's name; a client keeps it on
its disk, and the server merges R + q_k. W is what the merges have made so far, with all that the
steps have not told yet, so that nothing is lost for good. Who holds an earlier R is sent every q
since, where nobody prunes; else, and who holds none, the whole model, and changes again from then
on. Source: error feedback both ways, DoubleSqueeze (Tang et al. 2019).
"""

import hashlib
from collections.abc import Mapping, MutableMapping

import numpy as np
import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.mask_file import ArrayView, Masks
from fedklpr_flwr.wire.change_codec import ChangeWriter
from fedklpr_flwr.wire.layout import Layout, TensorSpec, layout_hash
from fedklpr_flwr.wire.payload import open_payload

Arrays = Mapping[str, np.ndarray]


def tells_changes(settings: Settings) -> bool:
    """Whether changes travel, not models."""
    return settings.wire.values == "change"


def catches_up(settings: Settings) -> bool:
    """Whether who missed some changes is sent them all, not the model.

    Only where all receive the same bytes: no mask and no part of their own.
    """
    alike = settings.method.pruning == "none" and settings.method.personal_parts == "none"
    return tells_changes(settings) and alike


def step_share(spec: TensorSpec, way: float, settings: Settings, round_number: int) -> float:
    """A tensor's step in a round, in units of its change's root mean square.

    Args:
        spec: the tensor; of fewer than two axes (batch norm, biases) steps are `wire.step.vectors`
            in every round.
        way: `wire.step.up` or `wire.step.down`.
        settings: the run's settings.
        round_number: 1..R. Steps are `wire.step.first` times as long in the first share of the
            rounds, while the model moves fast, and `wire.step.last` times in the last round.
    """
    if len(spec.shape) < 2:
        return settings.wire.step.vectors
    return weight_step(way, settings, round_number)


def weight_step(way: float, settings: Settings, round_number: int) -> float:
    """The step of weights in a round; as step_share."""
    step, rounds = settings.wire.step, settings.federation.rounds
    if round_number >= rounds:
        return way * step.last
    return way * (step.first if round_number <= step.first_share * rounds else 1.0)


def model_name(tensors: Arrays, layout: Layout) -> str:
    """Name a model by its numbers, so that who can make them itself need not be sent them.

    Args:
        tensors: float32 by name.
        layout: the tensors that travel.

    Returns:
        The first 32 hex digits of the SHA-256 of the layout's hash and the tensors' bytes.
    """
    digest = hashlib.sha256(layout_hash(layout))
    for spec in layout:
        digest.update(np.ascontiguousarray(tensors[spec.name]).data)
    return digest.hexdigest()[:32]


def encode_change(
    tensors: Arrays,
    masks: Arrays,
    known_masks: Masks,
    received: Arrays,
    residual: Mapping[str, torch.Tensor],
    layout: Layout,
    settings: Settings,
    round_number: int,
) -> tuple[bytes, dict[str, torch.Tensor]]:
    """A client's update as a change; the arguments are those of `encode_update`.

    Returns:
        The payload, and what it owes.
    """
    writer = ChangeWriter(masks, ArrayView(known_masks), layout)
    owed: dict[str, torch.Tensor] = {}
    for spec in layout:
        name, wanted = spec.name, tensors[spec.name]
        debt = None if is_measured(name) else _usable(residual.get(name), wanted.shape)
        if debt is not None:
            wanted = np.asarray(wanted + debt)
        share = step_share(spec, settings.wire.step.up, settings, round_number)
        rest = np.asarray(wanted - writer.add(spec, wanted, received[name], share))
        if name in masks:
            rest = np.where(masks[name], rest, np.float32(0))
        if settings.wire.step.feedback and not is_measured(name) and rest.any():
            owed[name] = torch.from_numpy(np.ascontiguousarray(rest))
    return writer.seal(), owed


def is_measured(name: str) -> bool:
    """Whether a tensor is a statistic of batch norm, which each training measures anew.

    What was not told of it is in the next measurement, so a debt would be paid twice.
    """
    return name.endswith(("running_mean", "running_var"))


def _usable(residual: torch.Tensor | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """What is owed, if that is what it can be: a damaged record is forgotten, not sent."""
    if residual is None or residual.dtype != torch.float32 or tuple(residual.shape) != shape:
        return None
    if not residual.isfinite().all():
        return None
    return residual.numpy()


def change_downlink(
    wanted: Arrays,
    reference: MutableMapping[str, np.ndarray],
    layout: Layout,
    settings: Settings,
    round_number: int,
    kept: Mapping[str, float] | None = None,
) -> tuple[bytes, dict[str, np.ndarray]]:
    """The change that brings the reference near to what is wanted.

    Args:
        wanted: the model that the merges have made.
        reference: the model that went down before. It is emptied: tensor by tensor the new one
            takes its place, so that no further model is held.
        layout: the tensors that travel in this round.
        settings: the run's settings.
        round_number: the round that was merged.
        kept: by tensor the share of its coordinates that is kept by whoever keeps any; the others
            are zero on both sides, and a step is in units of the kept ones' changes. Absent = all.

    Returns:
        The change of every coordinate as a payload, and the new reference, all of its tensors.
    """
    writer = ChangeWriter({}, None, layout)
    sent: dict[str, np.ndarray] = {}
    for spec in layout:
        name = spec.name
        share = step_share(spec, settings.wire.step.down, settings, round_number)
        share /= max((kept or {}).get(name, 1.0), 1 / spec.size) ** 0.5
        sent[name] = writer.add(spec, wanted[name], reference.pop(name), share)
    return writer.seal(), {**reference, **sent}


def with_debt(merged: dict[str, np.ndarray], before: Arrays, sent: Arrays) -> dict[str, np.ndarray]:
    """W: a round's merge, and what earlier rounds have not told yet.

    Args:
        merged: the merge, which began from what was sent; changed where it lies, and given back.
        before: W of the round before.
        sent: the reference of that round.
    """
    for name in merged:
        if not is_measured(name):
            debt = before[name] - sent[name]
            # In place, as all lie in one room; a tensor that does not travel is the sent one.
            place = None if merged[name] is sent[name] else merged[name]
            merged[name] = np.asarray(np.add(merged[name], debt, out=place))
    return merged


def cut_change(
    change: bytes, arrived: Arrays, masks: Arrays, known_masks: Arrays | None, layout: Layout
) -> bytes:
    """One client's part of the change that goes down.

    Args:
        change: what change_downlink gave.
        arrived: the new reference.
        masks: the client's masks.
        known_masks: those that the client holds.
        layout: the tensors that travel.
    """
    writer = ChangeWriter(masks, known_masks, layout)
    with open_payload(change, layout=layout) as opened:
        for spec in layout:
            writer.cut(spec, opened, arrived[spec.name])
    return writer.seal()

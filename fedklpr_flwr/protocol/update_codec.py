"""How both sides use the wire: deltas to the received model, and what lossy forms still owe.

    lossless:  payload = code(theta_k), or code(theta_k - received) where that is smaller, per
        tensor
    lossy:     payload = code(Q(theta_k + residual)),  residual <- theta_k + residual - Q(...)

Error feedback (Seide et al. 2014; Karimireddy et al. 2019) keeps what quantisation cut off and adds
it the next time, so that nothing is lost for good. The client keeps its residual in its memory; on
the way down the server quantises the merged model once for all and keeps one residual.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import ArrayView, Masks
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.protocol.change_reference import encode_change, tells_changes, weight_step
from fedklpr_flwr.system.open_files import allow_open_files
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload, quantise
from fedklpr_flwr.wire.layout import Layout
from fedklpr_flwr.wire.payload import Payload, carries
from fedklpr_flwr.wire.size_limit import largest_payload

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, torch.Tensor]


def refuse_too_long(content: bytes | memoryview, layout: Layout) -> None:
    """Refuse what cannot be a payload by its length alone, before it is copied or stored.

    Args:
        content: what came as a payload.
        layout: the tensors that travel.

    Raises:
        WireError: it is longer than any payload of the layout.
    """
    most = largest_payload(layout)
    if len(content) > most:
        raise WireError(
            f"length: a payload of this model has at most {most} bytes, got {len(content)}; it "
            "is damaged, or another model's"
        )


def encode_model(
    sent: Arrays,
    masks: Arrays,
    known_masks: Arrays | None,
    layout: Layout,
    settings: Settings,
) -> bytes:
    """Encode the model for a client, cut by its mask; the inverse of `decode_model`.

    Args:
        sent: the quantised merged model, float32 arrays by name.
        masks: bool arrays by name.
        known_masks: those that the client holds; None where it is sent them, too.
        layout: the tensors that travel.
        settings: the run's settings.
    """
    return encode(
        {spec.name: sent[spec.name] for spec in layout},
        masks,
        layout=layout,
        known_masks=known_masks,
        values=settings.wire.whole,
        level=settings.wire.level,
    )


def decode_model(
    content: bytes | memoryview,
    known_masks: Arrays | None,
    settings: Settings,
    base_round: int,
    reference: Arrays | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Decode the model that came down: all that ever travels, or only what is still shared.

    Args:
        content: the payload.
        known_masks: the masks this client holds; None where the payload brings its own.
        settings: the run's settings.
        base_round: the last round in which the client's update was merged.
        reference: the model that this side holds and the payload is a change to.

    Returns:
        float32 tensors and bool masks, by name.

    Raises:
        WireError: it is longer than any payload of the model, or damaged.
    """
    whole = shared_layout(settings)
    refuse_too_long(content, whole)
    layout = whole if carries(content, whole) else shared_layout(settings, base_round)
    return decode_dense(content, layout=layout, known_masks=known_masks, reference=reference)


def encode_update(
    tensors: Tensors,
    masks: Masks,
    known_masks: Masks,
    received: Arrays,
    residual: Tensors,
    layout: Layout,
    settings: Settings,
    round_number: int = 1,
) -> tuple[bytes, dict[str, torch.Tensor]]:
    """A client's update as bytes.

    Args:
        tensors: float32 tensors by name, after local training.
        masks: the masks they lie behind.
        known_masks: the masks the server holds; an unchanged one costs 16 bytes.
        received: the model that training began with, as received.
        residual: what earlier updates cut off; empty where the form is lossless.
        layout: the tensors that travel.
        settings: the run's settings.
        round_number: the round it answers.

    Returns:
        The payload, and the residual for next time (empty where the form is lossless).
    """
    values = settings.wire.values
    arrays: dict[str, np.ndarray] = {name: value.numpy() for name, value in tensors.items()}
    bits: dict[str, np.ndarray] = {name: mask.numpy() for name, mask in masks.items()}
    if tells_changes(settings):
        asked = known_masks, received, residual, layout, settings, round_number
        return encode_change(arrays, bits, *asked)
    owed: dict[str, torch.Tensor] = {}
    if values != "float32":
        arrays, owed = _with_feedback(arrays, bits, residual, values)
    payload = encode(
        arrays,
        bits,
        layout=layout,
        known_masks=ArrayView(known_masks),
        values=values,
        level=settings.wire.level,
        reference=received if uses_delta(settings) else None,
    )
    return payload, owed


def open_update(
    payload: Path | bytes,
    layout: Layout,
    known_masks: Masks,
    sent: Arrays,
    settings: Settings,
) -> Payload:
    """Open an update on the server.

    Args:
        payload: the file it lies in, or its bytes.
        layout: the tensors that travel.
        known_masks: the masks it builds on.
        sent: the model that went down before it.
        settings: the run's settings.

    Raises:
        WireError: it is not a valid payload of this model.
    """
    return open_payload(
        payload,
        layout=layout,
        known_masks=ArrayView(known_masks),
        reference=sent if uses_delta(settings) or tells_changes(settings) else None,
    )


def open_updates(
    files: Sequence[tuple[Path, Masks]],
    layout: Layout,
    sent: Arrays,
    settings: Settings,
    *,
    threads: int,
) -> list[Payload]:
    """Open a round's updates, all at once.

    Args:
        files: each update's file, and the masks it builds on.
        layout: the tensors that travel.
        sent: the model that went down before them.
        settings: the run's settings.
        threads: a payload's checksum is counted without Python's lock.

    Raises:
        WireError: one is not a valid payload of this model.
        MergeError: the system does not allow so many open files.
    """
    allow_open_files(len(files))
    with ThreadPoolExecutor(threads) as pool:
        opened = pool.map(lambda f: open_update(f[0], layout, f[1], sent, settings), files)
        return list(opened)


def uses_delta(settings: Settings) -> bool:
    """Whether both sides surely hold the same numbers to take a difference to.

    Not with int8, whose steps depend on which weights of a channel survive, and not where a
    rollback or regrowth may revive weights that the server's masked payload did not carry.
    """
    wire, revives = settings.wire, settings.crr.rollback or settings.pruning.regrow > 0
    return wire.delta and wire.values not in ("int8", "change") and not revives


def weight_steps(settings: Settings, round_number: int) -> tuple[float, float] | tuple[None, None]:
    """How coarsely weights are told up and down in a round, in root mean squares of their change.

    None where no changes are told.
    """
    if not tells_changes(settings):
        return None, None
    up, down = settings.wire.step.up, settings.wire.step.down
    return weight_step(up, settings, round_number), weight_step(down, settings, round_number)


def quantise_downlink(
    merged: Arrays, residual: MutableMapping[str, np.ndarray], values: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What goes down in place of the merged model, and what it owes.

    Args:
        merged: the merged model.
        residual: what earlier rounds cut off; empty at the start. It is emptied: tensor by tensor
            the new one takes its place, so that no further model is held.
        values: the wire form; float32 gives the model itself and owes nothing.
    """
    if values == "float32":
        return dict(merged), {}
    sent: dict[str, np.ndarray] = {}
    owed: dict[str, np.ndarray] = {}
    for name, array in merged.items():
        # A sum of arrays without axes is no array any more, and only arrays go to disk.
        whole = np.asarray(array + residual.pop(name, np.float32(0)))
        sent[name] = quantise({name: whole}, {}, values=values)[name]
        owed[name] = np.asarray(whole - sent[name])
    return sent, owed


def _with_feedback(
    arrays: Arrays, bits: Arrays, residual: Tensors, values: str
) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor]]:
    whole = {
        name: array + residual[name].numpy() if name in residual else array
        for name, array in arrays.items()
    }
    seen = quantise(whole, bits, values=values)
    owed = {}
    for name, array in whole.items():
        rest = array - seen[name]
        if name in bits:
            rest = np.where(bits[name], rest, np.float32(0))
        if rest.any():
            owed[name] = torch.from_numpy(np.ascontiguousarray(rest))
    return whole, owed


def dense_bytes(settings: Settings) -> int:
    """Bytes of the whole model in dense float32, parts that the method keeps at home included."""
    everything = replace(settings.method, personal_parts="none")
    return 4 * sum(spec.size for spec in shared_layout(replace(settings, method=everything)))

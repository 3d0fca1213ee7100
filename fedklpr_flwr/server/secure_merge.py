"""From a client's advert to a place in the round, and from the opened sum to the merged model.

    theta <- R + sum_k w_k (theta_k - R) / sum_k w_k     at the coordinates of the common mask

It is merge_round.py's masked mean where all masks are alike, within half a step a client.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from fedklpr_flwr.algorithm.masks import mask_hash, pruning_ratio
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import Masks, masks_to_bytes
from fedklpr_flwr.protocol.secure.blinding import Residues
from fedklpr_flwr.protocol.secure.keys import checked_key
from fedklpr_flwr.protocol.secure.quantise import HIGHEST, LOWEST, dequantise, step_of
from fedklpr_flwr.protocol.secure.stages import Advert
from fedklpr_flwr.protocol.update_codec import Arrays
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.server.stored_updates import StoredUpdate
from fedklpr_flwr.server.update_checks import Inspection, largest_honest
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.wire.layout import Layout, TensorSpec
from fedklpr_flwr.wire.payload import NOTHING


def spool_advert(
    advert: Advert,
    client: str,
    folder: RunFolder,
    masks: Masks,
    layout: Layout,
    sent: Arrays,
    others: Collection[Advert] = (),
) -> StoredUpdate:
    """Take a client into the round by what it tells before its values are asked for.

    Args:
        advert: what it told.
        client: its name.
        folder: the run's; its mask of the round is kept there.
        masks: the masks of all clients in this round.
        layout: the tensors that travel.
        sent: the model that went down.
        others: what the other clients have told so far.

    Returns:
        An update without a payload, which is never seen, and so without any length.

    Raises:
        WireError: its masks are others, its keys are none or somebody's, or a change is none that
            training makes.
    """
    _check_keys(advert, others)
    common = dict(masks)
    if advert.mask_hash != mask_hash(common):
        raise WireError(
            "its mask is not the one of all clients (privacy=secure_aggregation): it trained from "
            "another model than went down, or runs another version"
        )
    if len(advert.exponents) != len(layout):
        raise WireError(f"ranges: expected {len(layout)}, got {len(advert.exponents)}")
    for spec, exponent in zip(layout, advert.exponents, strict=True):
        # The largest change is above half of 2^e, and nothing changes by more than two such values.
        most = 4 * largest_honest(spec, sent[spec.name])
        if not LOWEST <= exponent <= HIGHEST or 2.0**exponent > max(most, 2.0**LOWEST):
            raise WireError(
                f"range of {spec.name}: expected changes of at most {most:g}, got 2^{exponent}; "
                "the update is damaged, or its training went astray"
            )
    write_atomically(folder.next_mask_file(client), masks_to_bytes(common))
    pruned = pruning_ratio(common) if common else 0.0
    found = Inspection({}, advert.mask_hash, pruned, NOTHING, 0, lengths=(0, 0), change=None)
    return StoredUpdate(Path(), found, None)


def _check_keys(advert: Advert, others: Collection[Advert]) -> None:
    """Refuse keys for which every other client would refuse the whole list."""
    taken = {key for other in others for key in (other.blinding, other.sealing)}
    for key in (advert.blinding, advert.sealing):
        checked_key(key)
        if key in taken:
            raise WireError("its public keys: expected two that nobody else has told")
        taken.add(key)


_FAR = 8
"""Powers of two above the others' range: an honest change may then be two hundred of a step."""

_FAR_TENSORS = 0.1
"""The part of the tensors in which no honest client is that far above the others."""


def far_ranges(adverts: Mapping[str, Advert]) -> dict[str, str]:
    """Find clients whose ranges would round what the others have learnt to nothing.

    Args:
        adverts: by client.

    Returns:
        By client what is wrong; nobody where fewer than three tell ranges.
    """
    if len(adverts) < 3:
        return {}
    found = {}
    for name, advert in adverts.items():
        others = [other.exponents for whose, other in adverts.items() if whose != name]
        far = 0
        for own, told in zip(advert.exponents, zip(*others, strict=True), strict=True):
            # Who has not moved a tensor says nothing of how far one moves.
            moved = [exponent for exponent in told if exponent > LOWEST]
            far += bool(moved) and own > median(moved) + _FAR
        if far > _FAR_TENSORS * len(advert.exponents):
            found[name] = (
                f"ranges: expected those of the other clients, at most 2^{_FAR} times as large, "
                f"got more in {far} of {len(advert.exponents)} tensors; its training went astray"
            )
    return found


def kept_counts(layout: Layout, masks: Masks) -> list[int]:
    """Count the numbers that each tensor sends."""
    return [int(masks[s.name].sum()) if s.name in masks else s.size for s in layout]


def steps_of(
    layout: Layout, exponents: Sequence[int], clients: int, weight: float
) -> dict[str, float]:
    """Say by tensor what a whole step of the sum is worth in the mean.

    Args:
        layout: the tensors that travel.
        exponents: the range of each.
        clients: how many were asked for values.
        weight: of those whose values came, > 0.
    """
    pairs = zip(layout, exponents, strict=True)
    return {spec.name: step_of(exponent, clients) / weight for spec, exponent in pairs}


def model_of_sum(
    total: Residues,
    steps: Mapping[str, float],
    previous: Arrays,
    sent: Arrays,
    layout: Layout,
    masks: Masks,
) -> dict[str, np.ndarray]:
    """Make the merged model of an opened sum.

    Args:
        total: uint16 (n,): the kept coordinates of all tensors.
        steps: see `steps_of`.
        previous: float32 by name: the model before; what nobody holds stays so.
        sent: the same as it went down, which changes are told to.
        layout: the tensors that travel.
        masks: of all clients.

    Returns:
        All of the previous tensors, those of the layout new.
    """
    merged = dict(previous)
    for spec, part in _parts(total, layout, masks):
        flat = previous[spec.name].reshape(-1).copy()
        at = masks[spec.name].numpy().reshape(-1) if spec.name in masks else slice(None)
        flat[at] = sent[spec.name].reshape(-1)[at] + dequantise(part, steps[spec.name])
        if spec.name.endswith("running_var"):
            np.maximum(flat, np.float32(0), out=flat)  # a step below zero, where all are near it
        merged[spec.name] = flat.reshape(spec.shape)
    return merged


def _parts(total: Residues, layout: Layout, masks: Masks) -> Iterator[tuple[TensorSpec, Residues]]:
    """Each tensor's part of a sum."""
    start = 0
    for spec, count in zip(layout, kept_counts(layout, masks), strict=True):
        yield spec, total[start : start + count]
        start += count

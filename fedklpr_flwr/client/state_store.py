"""What a client keeps on its own disk between rounds, so that nothing is ever done twice.

    <root>/<run>/<client>/round-0007.safetensors   mask, recovery history, own tensors, labels,
                                                   residual
    <root>/<run>/<client>/received-<hash>.payload  the last model received, as it came
    <root>/<run>/<client>/reference-<hash>.safetensors   the same as a model, where changes travel
    <root>/<run>/<client>/final.safetensors        the model after the final local fine-tuning
    <root>/<run>/<client>/releases                 how many noised updates have left
    <root>/<run>/<client>/continues      the key of the run before, whose memory it began with
    <root>/<run>/<client>/pictures.json            what its pictures were; split.json: their split

A record is keyed by (run, client, round). A round that is tried again, or resumed, starts from the
record the server names (`base_round`: the last round in which this client's update was merged), so
that it prunes once. Every file is written under another name and moved into place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.algorithm.recovery import RecoveryState
from fedklpr_flwr.client.dataset_snapshot import note_pictures, pictures_since
from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.model.device import host
from fedklpr_flwr.model.mask_file import pack_masks, unpack_mask
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.task import payload_name
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.array_check import array_check
from fedklpr_flwr.system.atomic_file import remove_leftovers, write_atomically
from fedklpr_flwr.system.plain_text import parse_json

_FORMAT = "fedklpr-memory-1"
_FINAL = "final.safetensors"
_RELEASES = "releases"


@dataclass(frozen=True)
class ClientMemory:
    """One record: the state a client leaves a round with.

    Attributes:
        round: the round that wrote it; 0 is a client that has not trained yet.
        masks: bool tensors by name, True = kept.
        recovery: accuracies and prunes so far, for cross-round recovery.
        masks_before_last_prune: what a rollback goes back to; None unless crr.rollback is on.
        before_prune: the weights as they were at the last prune, by name; empty unless crr.rollback
            is on.
        personal: tensors that never leave the client, by name.
        residual: what lossy wire forms have cut off so far, by name.
        own: the model as this client trained it, by name; empty unless personal.own_share is on.
        labels: int64 (N,), the labels of the next round's first epoch; None where labels are found
            anew in every epoch.
        reference_features: float16 (N, D), the training pictures by the model before the last
            prune; None before any prune and with crr.test=threshold.
        reference_labels: int64 (N,), the labels of that time; None where there were none.
        judged_labels: int64 (N,), the last epoch's labels, by which the next comparison with those
            features is made, as by those before; None with crr.test=threshold.
    """

    round: int
    masks: Mapping[str, torch.Tensor]
    recovery: RecoveryState = field(default_factory=RecoveryState)
    masks_before_last_prune: Mapping[str, torch.Tensor] | None = None
    before_prune: Mapping[str, torch.Tensor] = field(default_factory=dict)
    personal: Mapping[str, torch.Tensor] = field(default_factory=dict)
    residual: Mapping[str, torch.Tensor] = field(default_factory=dict)
    own: Mapping[str, torch.Tensor] = field(default_factory=dict)
    labels: torch.Tensor | None = None
    reference_features: torch.Tensor | None = None
    reference_labels: torch.Tensor | None = None
    judged_labels: torch.Tensor | None = None

    def without_pairs(self) -> "ClientMemory":
        """The same without what two models are compared by, picture by picture."""
        return replace(self, reference_features=None, reference_labels=None, judged_labels=None)

    @property
    def mask_hash(self) -> str:
        """The fingerprint of its masks, by which the server knows them."""
        return mask_hash(dict(self.masks))


def fresh_memory(full_masks: Mapping[str, torch.Tensor]) -> ClientMemory:
    """The memory of a client that has not trained: nothing pruned, nothing known."""
    return ClientMemory(round=0, masks=full_masks)


class MemoryFolder:
    """The records of one client in one run.

    Args:
        root: the folder of all runs' memories on this machine.
        run: the run's key, the same before and after a resume.
        client: the client's name.
    """

    def __init__(self, root: Path, run: str, client: str) -> None:
        self.folder = root / run / client
        self.folder.mkdir(parents=True, exist_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what killed processes of this client left half-written; for its own work alone."""
        remove_leftovers(self.folder)

    def read(self, round_number: int) -> ClientMemory | None:
        """The record that round wrote, or None where there is none.

        Raises:
            MemoryStateError: the record is there and damaged.
        """
        path = self._record(round_number)
        if not path.exists():
            return None
        metadata, arrays = _read_arrays(path)
        if metadata.get("format") != _FORMAT:
            raise MemoryStateError(
                f"{path} has format {metadata.get('format')!r}, expected {_FORMAT!r}"
            )
        if metadata.get("check") not in (None, array_check(arrays)):
            raise _damaged(path, ValueError("its checksum is another"))
        try:
            return _from_arrays(arrays, parse_json(metadata["record"]))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error

    def write(self, memory: ClientMemory, *, keep: int) -> None:
        """Store a record, and forget all others but the one of round `keep`."""
        self._write(memory)
        kept = {self._record(memory.round), self._record(keep)}
        for path in self.folder.glob("round-*.safetensors"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def without_gone(self, memory: ClientMemory, site: Site) -> ClientMemory:
        """Forget the features of pictures, in all records, where training pictures have changed.

        They could not be compared any more, and describe people whose pictures may be gone.

        Args:
            memory: a record of this folder.
            site: the client's pictures now.

        Returns:
            The record without them; as it was where the pictures are the same.
        """
        if memory.reference_features is None:
            return memory
        if pictures_since(self.folder, site) in (None, (0, 0)):
            return memory
        for path in self.folder.glob("round-*.safetensors"):
            try:
                held = self.read(int(path.stem.removeprefix("round-")))
            except MemoryStateError:  # nobody can say what it holds
                path.unlink(missing_ok=True)
                continue
            if held is not None and held.reference_features is not None:
                self._write(held.without_pairs())
        return memory.without_pairs()

    def store_received(self, payload: bytes | memoryview) -> str:
        """Keep the payload just received (and no other); returns the name it is found by."""
        name = payload_name(payload)
        path = self._received(name)
        write_atomically(path, payload)
        for other in self.folder.glob("received-*.payload"):
            if other != path:
                other.unlink(missing_ok=True)
        return name

    def store_reference(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        """Keep the model that a payload of that name brought, which changes are told to."""
        check = array_check(tensors)
        path = self._reference(name)
        write_atomically(path, save(dict(tensors), metadata={"check": check}))
        for other in self.folder.glob("reference-*.safetensors"):
            if other != path:
                other.unlink(missing_ok=True)

    def reference(self, name: str) -> dict[str, np.ndarray] | None:
        """The model that a payload of that name brought; None if it is not held intact."""
        path = self._reference(name)
        if not path.exists():
            return None
        try:
            metadata, arrays = _read_arrays(path)
        except MemoryStateError:
            return None
        return arrays if metadata.get("check") == array_check(arrays) else None

    def received(self, name: str) -> bytes | None:
        """The stored payload of that name, or None if this client does not hold it intact."""
        try:
            payload = self._received(name).read_bytes()
        except OSError:
            return None
        return payload if payload_name(payload) == name else None

    def pictures_changed(self, site: Site, round_number: int) -> bool:
        """Whether the pictures are others than this client last worked with; see note_pictures."""
        return note_pictures(self.folder, site, round_number)

    def count_release(self, merged: int) -> int:
        """Note that one more noised update leaves, before it does.

        Args:
            merged: the last round in which an update of this client was merged: so many have left
                at least, should this count be lost.

        Returns:
            How many have left with this one.
        """
        count = max(self._releases, merged) + 1
        write_atomically(self.folder / _RELEASES, str(count).encode())
        return count

    def carry_on(self, earlier: "MemoryFolder", memory: ClientMemory) -> None:
        """Begin with the memory of a run before, and with as many noised updates as left in it."""
        write_atomically(self.folder / run_files.CONTINUES, earlier.folder.parent.name.encode())
        write_atomically(self.folder / _RELEASES, str(earlier._releases).encode())
        self.write(memory, keep=memory.round)

    @property
    def _releases(self) -> int:
        """How many noised updates have left; 0 where nobody counted."""
        path = self.folder / _RELEASES
        told = path.read_text(encoding="ascii") if path.exists() else "0"
        return int(told) if told.isdigit() else 0

    def store_final(self, tensors: Mapping[str, torch.Tensor], round_number: int) -> None:
        """Keep the model as it is after the final local fine-tuning, which followed that round."""
        arrays = {name: host(tensor).numpy() for name, tensor in tensors.items()}
        blob = save(arrays, metadata={"round": str(round_number)})
        write_atomically(self.folder / _FINAL, blob)

    def read_final(self, round_number: int) -> dict[str, torch.Tensor] | None:
        """The model after the final fine-tuning that followed a round; None where there is none.

        Raises:
            MemoryStateError: the file is there and damaged.
        """
        path = self.folder / _FINAL
        if not path.exists():
            return None
        metadata, arrays = _read_arrays(path)
        if metadata.get("round", str(round_number)) != str(round_number):
            return None
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _write(self, memory: ClientMemory) -> None:
        arrays, record = _to_arrays(memory)
        told = {"format": _FORMAT, "record": json.dumps(record), "check": array_check(arrays)}
        blob = save(arrays, metadata=told)
        write_atomically(self._record(memory.round), blob)

    def _record(self, round_number: int) -> Path:
        return self.folder / f"round-{round_number:04d}.safetensors"

    def _reference(self, name: str) -> Path:
        return self.folder / f"reference-{name}.safetensors"

    def _received(self, name: str) -> Path:
        return self.folder / f"received-{name}.payload"


def _read_arrays(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """A safetensors file's metadata and arrays."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, AttributeError) as error:  # float8 has no array
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> MemoryStateError:
    return MemoryStateError(f"{path} is damaged: {error}; delete it to start anew")


def _to_arrays(memory: ClientMemory) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    packed, shapes = pack_masks(memory.masks)
    arrays = {f"mask/{name}": bits for name, bits in packed.items()}
    earlier, _ = pack_masks(memory.masks_before_last_prune or {})
    arrays |= {f"earlier/{name}": bits for name, bits in earlier.items()}
    kept = {
        "before": memory.before_prune,
        "personal": memory.personal,
        "residual": memory.residual,
        "own": memory.own,
        "labels": _present(
            {
                "kept": memory.labels,
                "judged": memory.judged_labels,
                "reference": memory.reference_labels,
            }
        ),
        "reference": _present({"features": memory.reference_features}),
    }
    for kind, tensors in kept.items():
        for name, tensor in tensors.items():
            arrays[f"{kind}/{name}"] = np.ascontiguousarray(tensor.detach().numpy())
    record = {
        "round": memory.round,
        "recovery": memory.recovery.to_dict(),
        "shapes": shapes,
    }
    return arrays, record


def _from_arrays(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> ClientMemory:
    shapes: dict[str, list[int]] = dict(record["shapes"])
    earlier = _section(arrays, "earlier/")
    return ClientMemory(
        round=record["round"],
        masks={name: unpack_mask(arrays[f"mask/{name}"], shapes[name]) for name in shapes},
        recovery=RecoveryState.from_dict(record["recovery"]),
        masks_before_last_prune={
            name: unpack_mask(bits.numpy(), shapes[name]) for name, bits in earlier.items()
        }
        or None,
        before_prune=_section(arrays, "before/"),
        personal=_section(arrays, "personal/"),
        residual=_section(arrays, "residual/"),
        own=_section(arrays, "own/"),
        labels=_section(arrays, "labels/").get("kept"),
        reference_features=_section(arrays, "reference/").get("features"),
        reference_labels=_section(arrays, "labels/").get("reference"),
        judged_labels=_section(arrays, "labels/").get("judged"),
    )


def _present(tensors: Mapping[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _section(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }

"""Masks by name, without holding them all: on disk one bit a coordinate, read tensor by tensor.

The server keeps clients/NAME/mask.safetensors, a client keeps its own in its memory; both are small
(2.9 MB for a ResNet-50) and are opened lazily, so that a server with many clients holds one
tensor's mask at a time.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.system.plain_text import parse_json

Masks = Mapping[str, torch.Tensor]

_FORMAT = "fedklpr-masks-1"
"""The only key of the metadata: safetensors writes several in an order of the moment."""


def masks_to_bytes(masks: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file of packed mask bits.

    Args:
        masks: bool tensors by name; True = kept.

    Returns:
        The file's content; equal masks give equal bytes, in whatever order they come.
    """
    packed, shapes = pack_masks(masks)
    return save(packed, metadata={_FORMAT: json.dumps(shapes, sort_keys=True)})


def pack_masks(
    masks: Mapping[str, torch.Tensor],
) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """Masks as packed bits (uint8, 1-D) and shapes, both by name."""
    packed = {name: np.packbits(mask.numpy().ravel()) for name, mask in masks.items()}
    return packed, {name: list(mask.shape) for name, mask in masks.items()}


def unpack_mask(bits: np.ndarray, shape: Sequence[int]) -> torch.Tensor:
    """The inverse of `pack_masks` for one tensor.

    Raises:
        ValueError: the bits are not as many as the shape needs: a few bytes could claim any memory.
    """
    count = math.prod(shape) if all(type(side) is int and side >= 0 for side in shape) else -1
    if bits.dtype != np.uint8 or bits.ndim != 1 or len(bits) != -(-count // 8):
        raise ValueError(f"{len(bits)} bytes of bits do not fit the shape {list(shape)!r:.100}")
    flat = np.unpackbits(bits, count=count)
    return torch.from_numpy(flat.view(np.bool_).reshape(shape))


class MaskFile(Mapping[str, torch.Tensor]):
    """The masks of one file, each read and unpacked when asked for."""

    def __init__(self, path: Path) -> None:
        """Open a file written from `masks_to_bytes`.

        Raises:
            MemoryStateError: the file is missing, damaged or of another format.
        """
        self._path = path
        with self._open() as file:
            metadata = file.metadata() or {}
        told = metadata.get(_FORMAT)
        if metadata.get("format") == _FORMAT:  # as the first runs wrote it, in two keys
            told = metadata.get("shapes")
        if told is None:
            raise MemoryStateError(
                f"{path} has the metadata {sorted(metadata)}, expected {_FORMAT!r}: "
                "it was written by another version or is not a mask file"
            )
        try:
            self._shapes: dict[str, list[int]] = dict(parse_json(told))
        except (ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def _open(self) -> Any:
        # Opened anew for every tensor: an open file's pages count as the server's memory, and
        # those of hundreds of clients are more than the model.
        try:
            return safe_open(str(self._path), framework="np")
        except (OSError, SafetensorError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> MemoryStateError:
        return MemoryStateError(f"{self._path} cannot be read as a mask file: {error}")

    def __getitem__(self, name: str) -> torch.Tensor:
        shape = self._shapes[name]  # first: a name without a mask is a KeyError, as in any mapping
        try:
            with self._open() as file:
                return unpack_mask(file.get_tensor(name), shape)
        except (SafetensorError, ValueError, TypeError, AttributeError) as error:
            # The bits and the shape do not agree, or are of a type that numpy lacks (float8).
            raise self._damaged(error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


class FullMasks(Mapping[str, torch.Tensor]):
    """Masks that keep everything, made one tensor at a time: what every client starts from."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self._shapes = dict(shapes)

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.ones(tuple(self._shapes[name]), dtype=torch.bool)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


class ArrayView(Mapping[str, np.ndarray]):
    """Tensors seen as arrays, one at a time: the wire speaks numpy."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name].detach().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

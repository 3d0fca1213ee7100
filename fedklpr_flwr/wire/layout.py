"""The tensors of a model as both sides know them: names, shapes, order, and which may be pruned.

Nothing of this travels except a hash: a payload made for another architecture is refused by it.
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from fedklpr_flwr.errors import WireError

HASH_BYTES = 16
LARGEST_TENSOR = 2**32 - 1  # sizes travel as unsigned 32-bit numbers


@dataclass(frozen=True)
class TensorSpec:
    """One tensor that both sides know: its name, its shape, and whether it may be pruned.

    Args:
        name: the tensor's name in the model.
        shape: its axes, () for a single number, any axis may be 0.
        dtype: always "float32"; integer buffers do not travel.
        prunable: whether a mask may leave coordinates out.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    prunable: bool = False

    @property
    def size(self) -> int:
        """The number of coordinates (1 for the shape ())."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """The number of output channels: the first axis, or 1 where there is none."""
        return self.shape[0] if self.shape else 1

    @property
    def row(self) -> int:
        """The number of coordinates of an output channel, at least 1."""
        return max(1, self.size // max(1, self.channels))


Layout = tuple[TensorSpec, ...]


def layout_of(tensors: Mapping[str, np.ndarray], prunable_names: Collection[str]) -> Layout:
    """Write down a model's tensors in their own order, the order of every payload.

    Args:
        tensors: name -> array (or tensor) of any shape; only `.shape` is read.
        prunable_names: names that may carry a mask.

    Returns:
        One TensorSpec for each entry of `tensors`.

    Raises:
        WireError: a prunable name is not among the tensors.
    """
    unknown = sorted(set(prunable_names) - set(tensors))
    if unknown:
        raise WireError(f"prunable_names: every name must be a tensor of the model, got {unknown}")
    prunable = frozenset(prunable_names)
    return tuple(
        TensorSpec(name, tuple(int(axis) for axis in array.shape), "float32", name in prunable)
        for name, array in tensors.items()
    )


def layout_hash(layout: Layout) -> bytes:
    """Name a layout by 16 bytes that change with any name, shape, order or prunable flag.

    Args:
        layout: the tensors in payload order.

    Returns:
        BLAKE2b-128 of one line per tensor, `name|shape|dtype|prunable`, as in docs/wire-format.md.
    """
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for spec in layout:
        shape = ",".join(str(axis) for axis in spec.shape)
        line = f"{spec.name}|{shape}|{spec.dtype}|{int(spec.prunable)}\n"
        digest.update(line.encode("utf-8"))
    return digest.digest()


def flat_array(tensors: Mapping[str, np.ndarray], spec: TensorSpec) -> np.ndarray:
    """Look up a tensor's numbers, flat, in row-major order.

    Args:
        tensors: name -> float32 array of the tensor's shape.
        spec: the tensor.

    Returns:
        float32 (size,), contiguous.

    Raises:
        WireError: it is missing, or has another dtype or shape.
    """
    array = tensors.get(spec.name)
    if array is None:
        raise WireError(f"tensors: {spec.name} is missing, give every tensor of the layout")
    if array.dtype != np.float32 or array.shape != spec.shape:
        raise WireError(
            f"{spec.name}: expected float32 {spec.shape}, got {array.dtype} {array.shape}"
        )
    return np.ascontiguousarray(array).reshape(-1)


def check_layout(layout: Layout) -> None:
    """Refuse a layout that this format cannot carry.

    Args:
        layout: the tensors in payload order.

    Raises:
        WireError: another dtype than float32, a repeated name, or a tensor of 2^32 or more.
    """
    names = [spec.name for spec in layout]
    if len(set(names)) != len(names):
        raise WireError("layout: every tensor name must be there once, got a repeated name")
    for spec in layout:
        if spec.dtype != "float32":
            raise WireError(
                f"layout: {spec.name} must be float32, got {spec.dtype}; leave integer buffers out"
            )
        if spec.size > LARGEST_TENSOR:
            raise WireError(f"layout: {spec.name} has {spec.size} numbers, 2^32 - 1 is the most")

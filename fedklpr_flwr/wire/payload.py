"""A payload from the network, opened whole and decoded one tensor at a time."""

import mmap
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.block_values import KeptValues
from fedklpr_flwr.wire.byte_planes import plane_widths
from fedklpr_flwr.wire.change import ChangedValues, check_step
from fedklpr_flwr.wire.change_entropy import LARGEST, unpack_symbols
from fedklpr_flwr.wire.dtypes import CHANGE, INT8, check_scales
from fedklpr_flwr.wire.header import (
    CHANGE_VERSION,
    FIRST_PLANE,
    HEADER,
    MASK,
    NO_HASH,
    SCALES,
    open_front,
    uses_known_masks,
)
from fedklpr_flwr.wire.layout import Layout, TensorSpec, check_layout, flat_array, layout_hash
from fedklpr_flwr.wire.masks import (
    kept_per_channel,
    known_mask,
    known_masks_hash,
    restore_mask,
    told_bits,
)
from fedklpr_flwr.wire.section_coding import CONTEXT, RAW, open_section

PayloadSource = bytes | bytearray | memoryview | str | PathLike[str]


class DecodedTensor(NamedTuple):
    """One tensor of a payload.

    Args:
        spec: which tensor.
        mask: bool, the tensor's shape; None where every coordinate was sent.
        values: float32 (kept,), the kept coordinates in row-major order; where mask is None, the
            whole tensor in its shape.
    """

    spec: TensorSpec
    mask: np.ndarray | None
    values: np.ndarray


class Spent(NamedTuple):
    """What a payload carries, and what parts of it take.

    Args:
        kept: numbers.
        masks: bytes that tell which.
        vectors: bytes of the values of tensors of fewer than two axes: batch norm and biases.
        front: bytes of neither masks nor values: the header, a few a tensor, and the checksum.
    """

    kept: int
    masks: int
    vectors: int
    front: int


NOTHING = Spent(0, 0, 0, 0)


class OpenedTensor(NamedTuple):
    """One tensor of a payload, its values still coded.

    Args:
        spec: which tensor.
        mask: bool, the tensor's shape; None where every coordinate was sent.
        values: the kept coordinates, in row-major order.
    """

    spec: TensorSpec
    mask: np.ndarray | None
    values: KeptValues | ChangedValues


class Payload:
    """A payload whose checksum and table hold, its tensors decoded when they are asked for.

    Iterating gives a DecodedTensor for each tensor of the layout, in order; `tensor(name)` gives
    any one of them without touching the others. Several threads may read at once. Use it in a
    `with`, or call close(), to let go of a file.
    """

    def __init__(
        self,
        data: memoryview,
        layout: Layout,
        known_masks: Mapping[str, np.ndarray] | None,
        reference: Mapping[str, np.ndarray] | None,
    ) -> None:
        """Check the front; use open_payload instead."""
        front = open_front(data, layout)
        _check_known_masks(front.known_mask_hash, known_masks, layout)
        self.layout = layout
        self._data, self._size = data, len(data)
        self._known_masks = known_masks
        self._reference = reference
        self.is_change = front.is_change
        self._table = front.table.copy()  # it may lie in the file, which close() lets go of
        self._position = {spec.name: position for position, spec in enumerate(layout)}
        lengths = front.table["lengths"].astype(np.int64)
        self._ends = front.body + np.cumsum(lengths).reshape(lengths.shape)
        self._forget_pages()

    def __len__(self) -> int:
        return len(self.layout)

    def __iter__(self) -> Iterator[DecodedTensor]:
        return (self.tensor(spec.name) for spec in self.layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the bytes, and of the file where they lie in one; decoded arrays stay."""
        source = self._data.obj
        self._data.release()
        if isinstance(source, mmap.mmap):
            source.close()

    @property
    def mask_bytes(self) -> int:
        """The bytes that told the masks: their sections, and the hash where one was needed."""
        hashed = len(NO_HASH) if uses_known_masks(self._table) else 0
        return int(self._table["lengths"][:, MASK].sum(dtype=np.int64)) + hashed

    @property
    def spent(self) -> Spent:
        """Numbers and bytes by part, without decoding a tensor."""
        short = [len(spec.shape) < 2 for spec in self.layout]
        vectors = self._table["lengths"][short][:, MASK + 1 :].sum(dtype=np.int64)
        lengths = self._table["lengths"]
        told = self.mask_bytes + int(lengths[:, MASK + 1 :].sum(dtype=np.int64))
        kept = int(self._table["kept"].sum(dtype=np.int64))
        return Spent(kept, self.mask_bytes, int(vectors), self._size - told)

    def kept(self, name: str) -> int:
        """The number of coordinates that were sent of a tensor, without decoding it."""
        return int(self._table["kept"][self._position_of(name)])

    def tensor(self, name: str) -> DecodedTensor:
        """Decode one tensor.

        Args:
            name: a tensor of the layout.

        Returns:
            Its mask and its kept values.

        Raises:
            WireError: no such tensor, or bytes that do not hold it; refuse the payload.
        """
        return self.tensor_and_symbols(name)[0]

    def tensor_and_symbols(self, name: str) -> tuple[DecodedTensor, np.ndarray | None]:
        """Decode one tensor; of a change also give the steps that it was told in.

        Args:
            name: a tensor of the layout.

        Returns:
            What `tensor` gives, and int16 (kept,), or None where nothing changed, or no change was
            told.

        Raises:
            WireError: as for `tensor`.
        """
        position = self._position_of(name)
        spec, mask, opened = self.opened(name)
        check = int(self._table["reference_check"][position])
        values = opened.whole(None if mask is None else mask.reshape(-1), check)
        symbols = opened.symbols if isinstance(opened, ChangedValues) else None
        self._forget_pages()
        shaped = values.reshape(spec.shape) if mask is None else values
        return DecodedTensor(spec, mask, shaped), symbols

    def opened(self, name: str) -> OpenedTensor:
        """Open one tensor of a payload that was checked before, to decode it in blocks.

        Args:
            name: a tensor of the layout.

        Returns:
            Its mask, and its values, which nobody checks any more: that they are finite and told
            against the same reference, `tensor` has found out.

        Raises:
            WireError: no such tensor, or bytes that do not hold it; refuse the payload.
        """
        position = self._position_of(name)
        spec, mask = self.layout[position], self._mask(position)
        values = self._values(position, mask)
        self._forget_pages()
        return OpenedTensor(spec, None if mask is None else mask.reshape(spec.shape), values)

    def _position_of(self, name: str) -> int:
        if name not in self._position:
            raise WireError(f"tensor: expected a name of the layout, got {name!r}")
        return self._position[name]

    def _forget_pages(self) -> None:
        """Let a mapped file's pages go, which would all count as this process's memory.

        They come back from the system's cache when they are needed again. Not only those just read:
        the system maps their neighbours along with them.
        """
        source = self._data.obj
        if isinstance(source, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            source.madvise(mmap.MADV_DONTNEED)

    def _section(self, position: int, section: int, plain_bytes: int, what: str) -> np.ndarray:
        record = self._table[position]
        end = int(self._ends[position, section])
        data = self._data[end - int(record["lengths"][section]) : end]
        field = f"{what} of {self.layout[position].name}"
        return open_section(int(record["codings"][section]), data, plain_bytes, field)

    def _mask(self, position: int) -> np.ndarray | None:
        spec, mode = self.layout[position], int(self._table["mask_mode"][position])
        known = known_mask(self._known_masks, spec)
        bits = told_bits(mode, spec, known)
        packed = self._section(position, MASK, (bits + 7) // 8, "mask")
        mask = restore_mask(mode, packed, spec, known, bits)
        kept = int(self._table["kept"][position])
        if mask is not None and np.count_nonzero(mask) != kept:
            raise WireError(
                f"kept of {spec.name}: the table says {kept}, its mask keeps "
                f"{np.count_nonzero(mask)}"
            )
        return mask

    def change(self, name: str, mask: np.ndarray | None) -> tuple[np.ndarray | None, np.float32]:
        """Decode one tensor of a change as it was told, without a reference.

        Args:
            name: a tensor of the layout.
            mask: bool (tensor's size,), what `tensor` gives; None where all are kept.

        Returns:
            int16 symbols (kept,), and what a symbol of 1 is; None and 0 where nothing has changed.

        Raises:
            WireError: no such tensor, a step of 0 or NaN, or bytes that do not hold it.
        """
        position = self._position_of(name)
        spec, record = self.layout[position], self._table[position]
        if not record["delta"]:
            return None, np.float32(0)
        step = self._section(position, SCALES, 4, "step").view("<f4")[0]
        check_step(step, name)
        kept, field = int(record["kept"]), f"symbols of {name}"
        coding = int(record["codings"][FIRST_PLANE])
        if coding not in (RAW, CONTEXT):
            raise WireError(f"{field}: coding must be {RAW} or {CONTEXT}, got {coding}")
        if coding == CONTEXT:
            end = int(self._ends[position, FIRST_PLANE])
            data = self._data[end - int(record["lengths"][FIRST_PLANE]) : end]
            if len(data) >= 2 * kept:
                raise WireError(f"{field}: expected under {2 * kept} bytes, got {len(data)}")
            return unpack_symbols(data, kept, mask, spec.row, field), step
        symbols = self._section(position, FIRST_PLANE, 2 * kept, "symbols").view("<i2")
        if symbols.min() < -LARGEST:
            raise WireError(f"{field}: expected none below {-LARGEST}, got {symbols.min()}")
        return symbols, step

    def _values(self, position: int, mask: np.ndarray | None) -> KeptValues | ChangedValues:
        spec, record = self.layout[position], self._table[position]
        form, delta, kept = int(record["form"]), bool(record["delta"]), int(record["kept"])
        if form == CHANGE:
            told = self.change(spec.name, mask)
            base = self._reference_of(spec)
            return ChangedValues(spec.name, *told, base, kept, self._forget_pages)
        steps = self._steps(position, mask) if form == INT8 else None
        planes = [
            self._section(position, FIRST_PLANE + number, kept * width, f"plane {number}")
            for number, width in enumerate(plane_widths(form, delta))
        ]
        reference = self._reference_of(spec) if delta else None
        return KeptValues(spec.name, kept, planes, form, reference, steps, self._forget_pages)

    def _steps(self, position: int, mask: np.ndarray | None) -> np.ndarray:
        spec = self.layout[position]
        scales = self._section(position, SCALES, 4 * spec.channels, "scales").view("<f4")
        check_scales(scales, spec.name)
        return np.repeat(scales, kept_per_channel(mask, spec))

    def _reference_of(self, spec: TensorSpec) -> np.ndarray:
        if self._reference is None or spec.name not in self._reference:
            raise WireError(f"reference of {spec.name}: the sender used one, this side holds none")
        return flat_array(self._reference, spec)


def open_payload(
    payload: PayloadSource,
    *,
    layout: Layout,
    known_masks: Mapping[str, np.ndarray] | None = None,
    reference: Mapping[str, np.ndarray] | None = None,
) -> Payload:
    """Open a payload from the network: check it as a whole, decode nothing yet.

    Args:
        payload: the bytes, or the path of a file that holds them (mapped, not read).
        layout: the tensors that both sides know.
        known_masks: the masks that this side holds and the sender counts on.
        reference: name -> float32 array that this side holds and the sender counts on.

    Returns:
        The payload, checked up to its table.

    Raises:
        WireError: which field is wrong; refuse the payload.
    """
    check_layout(layout)
    if isinstance(payload, str | PathLike):
        with Path(payload).open("rb") as file:
            if file.seek(0, 2) == 0:
                raise WireError(f"length: {payload} is empty, expected a payload")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return Payload(memoryview(mapped), layout, known_masks, reference)
    return Payload(memoryview(payload).cast("B"), layout, known_masks, reference)


def carries(payload: bytes | bytearray | memoryview, layout: Layout) -> bool:
    """Tell whether a payload says that it is of this layout; nothing else of it is checked.

    Args:
        payload: the bytes.
        layout: a model's tensors, or those of them that travel.
    """
    if len(payload) < HEADER.size:
        return False
    return bool(HEADER.unpack_from(payload)[3] == layout_hash(layout))


def is_change(payload: bytes | bytearray | memoryview) -> bool:
    """Tell whether a payload says that it is a change to a reference; nothing else is checked.

    Args:
        payload: the bytes.
    """
    return len(payload) >= HEADER.size and HEADER.unpack_from(payload)[1] == CHANGE_VERSION


def _check_known_masks(
    told: bytes, known_masks: Mapping[str, np.ndarray] | None, layout: Layout
) -> None:
    if told == NO_HASH:
        return
    held = NO_HASH if known_masks is None else known_masks_hash(known_masks, layout)
    if told != held:
        raise WireError(
            f"mask hash: the sender counts on the masks {told.hex()}, this side holds "
            f"{'none' if known_masks is None else held.hex()}; ask for explicit masks"
        )

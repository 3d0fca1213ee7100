"""A model as one payload of changes to a reference: version 2 of docs/wire-format.md."""

import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.change import apply_change, quantise_change
from fedklpr_flwr.wire.change_entropy import pack_symbols
from fedklpr_flwr.wire.dtypes import CHANGE, check_finite
from fedklpr_flwr.wire.header import (
    CHANGE_VERSION,
    FIRST_PLANE,
    MASK,
    NO_HASH,
    RECORD,
    SCALES,
    SECTIONS,
    seal,
    uses_known_masks,
)
from fedklpr_flwr.wire.layout import Layout, TensorSpec, flat_array
from fedklpr_flwr.wire.masks import describe_mask, flat_mask, known_mask, known_masks_hash
from fedklpr_flwr.wire.payload import Payload
from fedklpr_flwr.wire.section_coding import CONTEXT, RAW, pack_section

Arrays = Mapping[str, np.ndarray]
Section = tuple[int, bytes | memoryview]

_CODERS = 2
_AHEAD = _CODERS + 1


class ChangeWriter:
    """Writes one payload, tensor by tensor in the layout's order, so that no model is held.

    Two threads code the symbols of tensors while the next one is quantised.

    Args:
        masks: name -> bool array of the tensor's shape, True = kept; absent = all kept.
        known_masks: the masks that the other side holds; None: it holds none.
        layout: the tensors that travel.
    """

    def __init__(self, masks: Arrays, known_masks: Arrays | None, layout: Layout) -> None:
        self._masks, self._known_masks, self._layout = masks, known_masks, layout
        self._table = np.zeros(len(layout), RECORD)
        self._coded: list[Future[list[Section]]] = []
        self._coder = ThreadPoolExecutor(_CODERS)

    def add(
        self, spec: TensorSpec, wanted: np.ndarray, reference: np.ndarray, share: float
    ) -> np.ndarray:
        """Write a tensor's change.

        Args:
            spec: the tensor whose turn it is.
            wanted: float32 of its shape: what should arrive, finite where kept.
            reference: the same, what both sides hold.
            share: the step in units of the change's root mean square.

        Returns:
            float32 of its shape: what arrives, 0 where pruned; the difference is owed.

        Raises:
            WireError: an array that does not fit, NaN or infinity, or numba is not installed.
        """
        mask = flat_mask(self._masks, spec)
        target = _kept(flat_array({spec.name: wanted}, spec), mask)
        base = _kept(flat_array({spec.name: reference}, spec), mask)
        check_finite(target, spec.name)
        check_finite(base, f"the reference of {spec.name}")
        positive = spec.name.endswith("running_var")
        symbols, step = quantise_change(target, base, share, positive=positive)
        arrived = base if step == 0 else apply_change(base, symbols, step)
        check_finite(arrived, f"the change of {spec.name}")
        self._write(spec, mask, symbols, step, arrived)
        whole = np.zeros(spec.size, np.float32)
        whole[slice(None) if mask is None else np.flatnonzero(mask)] = arrived
        return whole.reshape(spec.shape)

    def cut(self, spec: TensorSpec, change: Payload, arrived: np.ndarray) -> None:
        """Write that part of another payload's change that the mask keeps.

        Args:
            spec: the tensor whose turn it is.
            change: a payload of changes with every coordinate.
            arrived: float32 of the tensor's shape: what arrives with it.

        Raises:
            WireError: the payload does not hold it, or numba is not installed.
        """
        mask = flat_mask(self._masks, spec)
        symbols, step = change.change(spec.name, None)
        if symbols is None:
            symbols = np.zeros(spec.size, np.int16)
        values = _kept(flat_array({spec.name: arrived}, spec), mask)
        self._write(spec, mask, _kept(symbols, mask), step, values)

    def seal(self) -> bytes:
        """Give the payload, once every tensor of the layout is written."""
        if len(self._coded) != len(self._layout):
            raise WireError(
                f"tensors: expected the layout's {len(self._layout)}, got {len(self._coded)}"
            )
        pieces = []
        with self._coder:
            for record, coded in zip(self._table, self._coded, strict=True):
                sections = coded.result()
                record["codings"] = [coding for coding, _ in sections]
                record["lengths"] = [len(piece) for _, piece in sections]
                pieces += [piece for _, piece in sections]
        known = NO_HASH
        if uses_known_masks(self._table):
            known = known_masks_hash(self._known_masks or {}, self._layout)
        return seal(self._table, pieces, self._layout, known, version=CHANGE_VERSION)

    def _write(
        self,
        spec: TensorSpec,
        mask: np.ndarray | None,
        symbols: np.ndarray,
        step: np.float32,
        arrived: np.ndarray,
    ) -> None:
        turn = len(self._coded)
        if self._layout[turn] != spec:
            raise WireError(
                f"tensors: it is the turn of {self._layout[turn].name}, got {spec.name}"
            )
        mode, told = describe_mask(mask, known_mask(self._known_masks, spec))
        record = self._table[turn]
        record["mask_mode"], record["form"], record["delta"] = mode, CHANGE, symbols.any()
        record["kept"] = symbols.size
        record["reference_check"] = zlib.crc32(arrived.data) if arrived.size else 0
        if turn >= _AHEAD:  # few tensors' symbols wait
            self._coded[turn - _AHEAD].result()
        held = None if mode == 0 else mask
        self._coded.append(self._coder.submit(_sections, told, symbols, step, held, spec.row))


def _sections(
    told: np.ndarray, symbols: np.ndarray, step: np.float32, mask: np.ndarray | None, row: int
) -> list[Section]:
    sections: list[Section] = [(RAW, b"")] * SECTIONS
    sections[MASK] = pack_section(told, "fast")
    if symbols.any():
        sections[SCALES] = (RAW, np.array([step], "<f4").tobytes())
        coded = pack_symbols(symbols, mask, row)
        plain = (RAW, symbols.astype("<i2").tobytes())
        sections[FIRST_PLANE] = plain if coded is None else (CONTEXT, coded)
    return sections


def _kept(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return values if mask is None else values[np.flatnonzero(mask)]

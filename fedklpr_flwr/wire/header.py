"""The front of a payload: header, tensor table and checksum, written and checked."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.byte_planes import MOST_PLANES, plane_widths
from fedklpr_flwr.wire.dtypes import CHANGE, FLOAT32, FORMS
from fedklpr_flwr.wire.layout import HASH_BYTES, Layout, TensorSpec, layout_hash
from fedklpr_flwr.wire.masks import DENSE, EXPLICIT, KNOWN, SHRUNK
from fedklpr_flwr.wire.section_coding import RAW, open_section, pack_section

MAGIC = b"FKLW"
VERSION, CHANGE_VERSION = 1, 2
NO_HASH = bytes(HASH_BYTES)
# magic, version, tensors, layout hash, known-mask hash, table length, table coding, body length
HEADER = struct.Struct("<4sHI16s16sIBQ")
CHECKSUM = struct.Struct("<I")
MASK, SCALES, FIRST_PLANE = 0, 1, 2
SECTIONS = FIRST_PLANE + MOST_PLANES
RECORD = np.dtype(
    [
        ("mask_mode", "u1"),
        ("form", "u1"),
        ("delta", "u1"),
        ("codings", "u1", (SECTIONS,)),
        ("kept", "<u4"),
        ("reference_check", "<u4"),
        ("lengths", "<u4", (SECTIONS,)),
    ]
)


@dataclass(frozen=True)
class Front:
    """What the front of a payload says.

    Args:
        table: RECORD (tensors,), checked against the layout.
        known_mask_hash: the masks that the sender assumes this side holds, or zeros.
        body: where the sections start, in bytes from the payload's start.
        is_change: the tensors are told as changes to a reference: version 2.
    """

    table: np.ndarray
    known_mask_hash: bytes
    body: int
    is_change: bool


def uses_known_masks(table: np.ndarray) -> bool:
    """Tell whether any mask is told by what the other side already holds."""
    return bool(np.isin(table["mask_mode"], (KNOWN, SHRUNK)).any())


def seal(
    table: np.ndarray,
    sections: Sequence[bytes | memoryview],
    layout: Layout,
    known_mask_hash: bytes,
    *,
    version: int = VERSION,
) -> bytes:
    """Put header, table, sections and checksum together.

    Args:
        table: RECORD (tensors,).
        sections: the coded sections, tensor after tensor.
        layout: the tensors in payload order.
        known_mask_hash: 16 bytes, zeros where no mask is told by what is known.
        version: VERSION, or CHANGE_VERSION where all tensors are changes.

    Returns:
        The payload.
    """
    coding, packed_table = pack_section(table.view(np.uint8), "fast")
    header = HEADER.pack(
        MAGIC,
        version,
        len(layout),
        layout_hash(layout),
        known_mask_hash,
        len(packed_table),
        coding,
        sum(len(section) for section in sections),
    )
    pieces = [header, packed_table, *sections]
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return b"".join([*pieces, CHECKSUM.pack(checksum)])


def open_front(data: memoryview, layout: Layout) -> Front:
    """Check a payload as far as that goes without decoding a tensor.

    Args:
        data: the payload, from the network.
        layout: the tensors that this side knows.

    Returns:
        Its front.

    Raises:
        WireError: which field is wrong.
    """
    if len(data) < HEADER.size + CHECKSUM.size:
        raise WireError(
            f"length: a payload has at least {HEADER.size + CHECKSUM.size} bytes, got {len(data)}"
        )
    magic, version, count, layout_name, known_name, table_bytes, coding, body = HEADER.unpack_from(
        data
    )
    if magic != MAGIC:
        raise WireError(f"magic: expected {MAGIC!r}, got {magic!r}; this is not a payload")
    if version not in (VERSION, CHANGE_VERSION):
        raise WireError(
            f"version: this side reads versions {VERSION} and {CHANGE_VERSION}, got {version}; "
            "update it"
        )
    _check_checksum(data)
    expected = layout_hash(layout)
    if count != len(layout) or layout_name != expected:
        raise WireError(
            f"layout: expected {len(layout)} tensors {expected.hex()}, got {count} tensors "
            f"{layout_name.hex()}; this is another model's payload"
        )
    start = HEADER.size + table_bytes
    if start + body + CHECKSUM.size != len(data):
        raise WireError(
            f"length: a table of {table_bytes} and sections of {body} bytes do not make "
            f"the {len(data)} bytes that came"
        )
    plain_bytes = len(layout) * RECORD.itemsize
    table = open_section(coding, data[HEADER.size : start], plain_bytes, "table").view(RECORD)
    _check_table(table, layout, body, version == CHANGE_VERSION)
    if uses_known_masks(table) != (known_name != NO_HASH):
        raise WireError(f"mask hash: given without need or missing, got {known_name.hex()}")
    return Front(table, known_name, start, version == CHANGE_VERSION)


def _check_checksum(data: memoryview) -> None:
    (told,) = CHECKSUM.unpack_from(data, len(data) - CHECKSUM.size)
    actual = zlib.crc32(data[: -CHECKSUM.size])
    if told != actual:
        raise WireError(
            f"checksum: the payload says {told:08x}, its bytes give {actual:08x}; "
            "it was damaged on its way, ask for it again"
        )


def _check_table(table: np.ndarray, layout: Layout, body: int, is_change: bool) -> None:
    total = int(table["lengths"].sum(dtype=np.uint64))
    if total != body:
        raise WireError(f"lengths: the sections make {total} bytes, the header says {body}")
    for spec, record in zip(layout, table, strict=True):
        _check_record(record, spec, is_change)
    rounded = [len(spec.shape) >= 2 for spec in layout]
    forms = np.unique(table["form"][rounded])
    if forms.size > 1:
        raise WireError(f"form: tensors of two axes or more share one, got {forms.tolist()}")


def _check_record(record: np.void, spec: TensorSpec, is_change: bool) -> None:
    mode, form, delta = int(record["mask_mode"]), int(record["form"]), int(record["delta"])
    kept = int(record["kept"])
    if mode > SHRUNK or (mode != DENSE and not spec.prunable):
        raise WireError(
            f"mask mode of {spec.name}: expected {DENSE} to {SHRUNK if spec.prunable else DENSE}, "
            f"got {mode}"
        )
    known_form = form == CHANGE if is_change else form in FORMS.values()
    if not known_form or (form not in (FLOAT32, CHANGE) and len(spec.shape) < 2):
        raise WireError(f"form of {spec.name} {spec.shape}: got {form}, which it cannot have")
    unchecked = (not is_change and not delta) or not kept
    if delta > 1 or (delta and not kept) or (unchecked and record["reference_check"]):
        raise WireError(
            f"delta of {spec.name}: expected 1 with values and a reference check, or 0 without, "
            f"got {delta}, {kept} values and the check {int(record['reference_check']):08x}"
        )
    if kept > spec.size or (mode == DENSE and kept != spec.size):
        raise WireError(f"kept of {spec.name}: the tensor has {spec.size} numbers, got {kept}")
    planes = delta if is_change else len(plane_widths(form, bool(delta)))
    scaled = delta if is_change else form == FORMS["int8"]
    unused = list(range(FIRST_PLANE + planes, SECTIONS))
    unused += [MASK] * (mode not in (EXPLICIT, SHRUNK)) + [SCALES] * (not scaled)
    if record["lengths"][unused].any() or (record["codings"][unused] != RAW).any():
        raise WireError(f"sections of {spec.name}: those that its form lacks must be empty")

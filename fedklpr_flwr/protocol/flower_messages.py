"""Tasks and replies as Flower records: one uint8 payload beside a handful of scalars.

    server -> client   message type query      task: run
                       message type evaluate   task: Task, payload: the client's part of the merged
                       model message type train      task: Task, payload: empty where the client
                       holds the model
                       message type query.secure   task: StageTask, payload: what it asks by
    client -> server   report: scalars (listed in docs/privacy.md), payload: the update or empty

A ConfigRecord cannot hold None, so absent means None.
"""

from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.lib import format as npy

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.flower_internals import travelling_parts
from fedklpr_flwr.protocol.task import StageTask, Task

TASK, REPORT, PAYLOAD = "task", "report", "payload"

_ONLY_IF_SAID = ("kept_run", "kept_round", "changes")
"""Of a task, left out where they say nothing: boxes of before know no such keys."""


def task_content(task: Task | StageTask, payload: bytes) -> RecordDict:
    """A task and its payload as a message's content."""
    said = {key: of for key, of in asdict(task).items() if of or key not in _ONLY_IF_SAID}
    return RecordDict({TASK: ConfigRecord(said), PAYLOAD: payload_record(payload)})


def stage_content(run: str, round_number: int, stage: str, payload: bytes) -> RecordDict:
    """One stage of a secure sum as a message's content."""
    return task_content(StageTask(run, round_number, stage), payload)


def payload_record(payload: bytes | memoryview) -> ArrayRecord:
    """A payload as one uint8 array: Flower sends bytes in a record 40 times slower."""
    return ArrayRecord([np.frombuffer(payload, dtype=np.uint8)])


def read_payload(content: RecordDict) -> memoryview:
    """The payload of a message, where it lies: nothing is copied, however long it is.

    Raises:
        WireError: there is not exactly one uint8 array in it.
    """
    record = content.get(PAYLOAD)
    arrays = list(record.values()) if isinstance(record, ArrayRecord) else []
    parts = [_opened(array) for array in arrays]
    if len(parts) != 1 or parts[0][0] != np.uint8 or len(parts[0][1]) != 1:
        found = [f"{dtype}{shape}" for dtype, shape, _ in parts]
        raise WireError(f"a message's payload must be one uint8 array, it is {found or 'missing'}")
    _, (told,), payload = parts[0]
    if len(payload) != told:
        raise WireError(
            f"a message's payload cannot be read as an array: it says {told} bytes, "
            f"{len(payload)} came"
        )
    return payload


def _opened(array: Array) -> tuple[np.dtype[Any], tuple[int, ...], memoryview]:
    """An array's dtype and shape as it says, and the bytes behind that.

    Raises:
        WireError: it is no array as numpy.save writes one.
    """
    file = BytesIO(array.data)
    try:
        if array.stype != "numpy.ndarray" or npy.read_magic(file) != (1, 0):
            raise ValueError(f"{array.stype!r:.100} is not numpy's format 1.0")
        shape, _, dtype = npy.read_array_header_1_0(file)
    except Exception as error:  # whatever numpy makes of bytes that are not an array of its own
        raise WireError(f"a message's payload cannot be read as an array: {error}") from error
    return dtype, shape, memoryview(array.data)[file.tell() :]


def report_record(values: Mapping[str, Any]) -> ConfigRecord:
    """Scalars of a reply; nested mappings become dotted keys and None is left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": float(item) for inner, item in value.items()})
        elif value is not None:
            flat[key] = value
    return ConfigRecord(flat)


def read_report(content: RecordDict) -> dict[str, Any]:
    """The inverse of `report_record`; an absent key is simply absent.

    Raises:
        WireError: there is no report, or one name is a number and a group of numbers.
    """
    record = content.get(REPORT)
    if not isinstance(record, ConfigRecord):
        raise WireError("a reply must have a record 'report', this one has none")
    values: dict[str, Any] = {}
    for key, value in record.items():
        outer, dot, inner = key.partition(".")
        held = values.get(outer)
        if held is not None and bool(dot) != isinstance(held, dict):
            raise WireError(f"a report must name {outer!r:.100} once, this one has it twice")
        if dot:
            values.setdefault(outer, {})[inner] = value
        else:
            values[key] = value
    return values


def message_bytes(message: Message) -> int:
    """Size of a whole Flower message as it is put on the wire, headers of every object included."""
    return sum(map(len, travelling_parts(message)))

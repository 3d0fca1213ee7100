"""Claims about protocol.flower_messages: tasks and replies as Flower records and back."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.protocol.flower_messages import (
    PAYLOAD,
    REPORT,
    TASK,
    message_bytes,
    payload_record,
    read_payload,
    read_report,
    report_record,
    task_content,
)
from fedklpr_flwr.protocol.task import Task

THE_TASK = Task("run-1", 3, 2, "ab" * 16, "cd" * 16, full=True)


def test_a_task_and_its_payload_come_back():
    content = task_content(THE_TASK, b"\x00\xff" * 100)
    assert Task(**dict(content[TASK].items())) == THE_TASK
    assert read_payload(content) == b"\x00\xff" * 100


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 50])
def test_a_payload_of_any_length_comes_back(payload):
    assert read_payload(RecordDict({PAYLOAD: payload_record(payload)})) == payload


@pytest.mark.parametrize(
    "record",
    [
        None,
        ArrayRecord([]),
        ArrayRecord([np.zeros(3, np.uint8), np.zeros(3, np.uint8)]),
        ArrayRecord([np.zeros(3, np.float32)]),
        ArrayRecord([np.zeros((3, 1), np.uint8)]),
        ConfigRecord({"payload": b"bytes"}),
    ],
)
def test_anything_but_one_row_of_bytes_is_refused(record):
    content = RecordDict({} if record is None else {PAYLOAD: record})
    with pytest.raises(WireError, match="one uint8 array"):
        read_payload(content)


def test_a_report_comes_back_and_what_is_unknown_stays_away():
    said = {"status": "ok", "accuracy": None, "idle": False, "seconds": {"train": 1.5, "label": 2}}
    back = read_report(RecordDict({REPORT: report_record(said)}))
    assert back == {"status": "ok", "idle": False, "seconds": {"train": 1.5, "label": 2.0}}


def test_a_reply_without_a_report_is_refused():
    with pytest.raises(WireError, match="'report'"):
        read_report(RecordDict({PAYLOAD: payload_record(b"")}))


def test_a_message_costs_its_payload_and_little_more():
    InProcessGrid(None, {}, [])  # says who sends
    small, large = (
        message_bytes(Message(task_content(THE_TASK, b"x" * size), 2, "train"))
        for size in (0, 1_000_000)
    )
    assert 0 < small < 5_000
    assert large - small == pytest.approx(1_000_000, abs=100)


def test_a_payload_that_is_no_array_at_all_is_refused():
    whole = payload_record(b"x" * 64)
    cut = ArrayRecord({"0": Array("uint8", (64,), "numpy.ndarray", whole["0"].data[:-10])})
    foreign = ArrayRecord({"0": Array("uint8", (3,), "pickle", b"abc")})
    for record in (cut, foreign):
        with pytest.raises(WireError, match="cannot be read as an array"):
            read_payload(RecordDict({PAYLOAD: record}))


@pytest.mark.parametrize("names", [["seconds", "seconds.train"], ["seconds.train", "seconds"]])
def test_a_name_that_is_a_number_and_a_group_is_refused(names):
    content = RecordDict({REPORT: ConfigRecord(dict.fromkeys(names, 1.0))})
    with pytest.raises(WireError, match="must name 'seconds' once"):
        read_report(content)


def test_a_payload_is_read_where_it_lies_and_must_be_as_long_as_it_says():
    record = payload_record(bytes(1000))
    whole = record["0"].data
    assert read_payload(RecordDict({PAYLOAD: record})).obj is whole, "it was copied"
    longer = ArrayRecord({"0": Array("uint8", (1000,), "numpy.ndarray", whole + b"x")})
    with pytest.raises(WireError, match="it says 1000 bytes, 1001 came"):
        read_payload(RecordDict({PAYLOAD: longer}))

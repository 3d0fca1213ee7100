"""W&B in offline mode, read back from the file the real library wrote."""

import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from fedklpr_flwr.report.wandb_log import WandbLog, curves
from fedklpr_flwr.runs.rows import Row

_BLOCK, _FILE_HEADER, _RECORD_HEADER = 32768, 7, 7


def records(path: Path) -> list[bytes]:
    """The records of a W&B file: LevelDB's log format behind a header of seven bytes."""
    data, found, part, position = path.read_bytes(), [], b"", _FILE_HEADER
    while position + _RECORD_HEADER <= len(data):
        if _BLOCK - position % _BLOCK < _RECORD_HEADER:
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += _RECORD_HEADER
        part += data[position : position + length]
        position += length
        if kind in (1, 4):  # a whole record, or its last part
            found.append(part)
            part = b""
    return found


def when_whole(path: Path, pb: Any) -> list[bytes]:
    """The records once the last is there: W&B's own process writes it after `finish` returned."""
    end = time.monotonic() + 30
    while True:
        written, last = records(path), pb.Record()
        if written:
            last.ParseFromString(written[-1])
        if last.WhichOneof("record_type") in ("exit", "footer") or time.monotonic() > end:
            return written
        time.sleep(0.1)


def found(folder: Path, kind: str, part: str = "offline-run-*") -> list[Any]:
    """The records of one kind in the only W&B file below a folder, or in a part of it."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (path,) = folder.glob(f"wandb/{part}/*.wandb")
    every = []
    for blob in when_whole(path, pb):
        record = pb.Record()
        record.ParseFromString(blob)
        if record.WhichOneof("record_type") == kind:
            every.append(getattr(record, kind))
    return every


def history(folder: Path, part: str = "offline-run-*") -> list[dict[str, float]]:
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in step.item}
        for step in found(folder, "history", part)
    ]


def rows(number: int) -> list[Row]:
    gate = Row(number, "gate-3", rank1=0.25 * number, crr="held_drop", bytes_up=7, weight=1.0)
    return [gate, Row(number, None, rank1=0.25 * number, bytes_up=7)]


def test_a_rounds_curves_carry_every_client_the_mean_and_the_decision():
    values = curves(rows(2))
    assert values["gate-3/rank1"] == values["mean/rank1"] == 0.5
    assert values["gate-3/crr/held_drop"] == 1.0
    assert values["gate-3/crr/pruned"] == 0.0
    assert "gate-3/map" not in values


def test_every_number_of_a_line_is_a_curve():
    ash = Row(2, "ash", cosine_distance=0.25, camera_split=0.5, rank1_final=0.75, map_final=0.5)
    ash.trust, ash.alignment, ash.shortened, ash.epsilon = 0.5, 0.25, 0.125, 3.0
    values = curves([ash])
    for name in ("cosine_distance", "camera_split", "rank1_final", "map_final"):
        assert values[f"ash/{name}"] == getattr(ash, name)
    for name in ("trust", "alignment", "shortened", "epsilon"):
        assert values[f"ash/{name}"] == getattr(ash, name)


@pytest.mark.slow
def test_offline_writes_every_round_and_an_absent_login_makes_online_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    log = WandbLog("online", tmp_path, {"seed": 3, "pruning": {"rate": 0.1}}, "run-key")
    log.log(rows(0))
    log.log(rows(1))
    log.close()
    steps = history(tmp_path)
    assert [step["gate-3/rank1"] for step in steps] == [0.0, 0.25]
    assert steps[1]["mean/bytes_up"] == 7
    assert steps[1]["_step"] == 1
    assert steps[1]["gate-3/crr/held_drop"] == 1
    (begun,) = found(tmp_path, "run")
    assert begun.run_id == "run-key"
    config = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert (config["seed"], config["pruning"]) == (3, {"rate": 0.1})


@pytest.mark.slow
def test_a_resumed_run_writes_a_part_of_its_own_of_the_same_run_and_keeps_the_first(tmp_path):
    for numbers in ((0, 1), (2,)):
        log = WandbLog("offline", tmp_path, {"seed": 3}, "run-key")
        for number in numbers:
            log.log(rows(number))
        log.close()
    parts = sorted(path.name for path in tmp_path.glob("wandb/offline-run-*"))
    assert len(parts) == 2
    told = [[step["_step"] for step in history(tmp_path, part)] for part in parts]
    assert told == [[0, 1], [2]]
    assert {run.run_id for part in parts for run in found(tmp_path, "run", part)} == {"run-key"}


def test_a_fault_of_wandb_never_reaches_the_run(tmp_path, caplog):
    log = WandbLog("offline", tmp_path / "missing" / "folder", {}, "run-key")
    log.log(rows(1))
    log.close()
    assert "left alone" in caplog.text


@pytest.mark.slow
def test_neither_the_machine_nor_its_folders_nor_the_checkout_are_told(tmp_path):
    settings = {"run": {"dir": "/srv/hidden-run"}, "data": {"root": "/srv/hidden", "scenario": "x"}}
    log = WandbLog("offline", tmp_path, settings, "run-key")
    log.log(rows(0))
    log.close()
    (begun,) = found(tmp_path, "run")
    assert begun.host in ("", "withheld")
    config = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert config["data"] == {"scenario": "x"}
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    told = path.read_bytes()
    words = (socket.gethostname(), "/srv/hidden", "git@", "--strict-markers")
    assert [word for word in words if word.encode() in told] == []


def test_off_makes_no_file(tmp_path):
    log = WandbLog("off", tmp_path, {}, "run-key")
    log.log(rows(1))
    log.close()
    assert list(tmp_path.iterdir()) == []

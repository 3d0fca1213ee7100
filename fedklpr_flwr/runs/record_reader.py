"""Read the files of a run folder, whoever made it: what cannot be so is refused or remarked on."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from fedklpr_flwr.config.compose import with_what_null_meant
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.protocol.figures import FIGURES, WANTED, Kind
from fedklpr_flwr.runs.rows import MAY_BE_NULL, Row, read_rows
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import check_plain_yaml, parse_json, read_text

_MOST = 1e18  # also refuses what is not finite


def whole_rounds(folder: Path, remarks: list[str]) -> tuple[Row, ...]:
    """The rows of a run's whole rounds; a remark is added for what is left out.

    Raises:
        RunError: the file is damaged before its last line, or holds what no version writes.
    """
    path = folder / run_files.ROWS
    if not path.is_file():
        remarks.append("there is no run.jsonl: the run wrote no round")
        return ()
    rows = read_rows(path)
    for row in rows:
        check_row(path, row)
    if _last_byte(path) not in (b"", b"\n"):
        remarks.append("the last line of run.jsonl is half-written and left out")
    whole = {row.round for row in rows if row.client is None}
    if open_rounds := sorted({row.round for row in rows} - whole):
        remarks.append(f"round {open_rounds[0]} is not whole in run.jsonl and left out")
    # A row that stands there twice counts once, as it was written last.
    once = {(row.round, row.client): row for row in rows if row.round in whole}
    return tuple(once.values())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read(1)


def check_row(path: Path, row: Row) -> None:
    """Refuse what no version writes: a text where a number belongs, for one.

    Raises:
        RunError: a field holds such a thing.
    """
    for key, value in asdict(row).items():
        wanted = _expected(key, value)
        if wanted:
            raise RunError(
                f"{path}: the row of round {row.round!r:.20} and client {row.client!r:.80} has "
                f"{key}={value!r:.80}, expected {wanted}: the file is damaged, or another version "
                "wrote it"
            )


def _expected(key: str, value: Any) -> str:
    """What a field should hold; empty where it does."""
    if key == "round":
        right, wanted = isinstance(value, int) and _is_number(value) and value >= 0, "a round"
    elif key == "client":
        right, wanted = value is None or isinstance(value, str), "a text"
    else:
        kind = FIGURES[key].kind
        right, wanted = _RIGHT[kind](value) or (value is None and key in MAY_BE_NULL), WANTED[kind]
    return "" if right else wanted


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) < _MOST


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_RIGHT: dict[Kind, Callable[[Any], bool]] = {
    "number": _is_number,
    "count": _is_number,
    "truth": _is_truth,
    "word": _is_text,  # a round's own line counts them, "held_drop 3, pruned 5"
    "seconds": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "status": _is_text,
    "reason": lambda value: isinstance(value, bool | str),
}


def read_status(folder: Path) -> tuple[str, str, str]:
    """A run's status and message, and why they are not known; empty where they are."""
    path = folder / run_files.STATUS
    try:
        said = parse_json(read_text(path))
        return str(said["status"]), str(said.get("message", "")), ""
    except FileNotFoundError:
        why = "there is no status.json"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        why = "status.json is damaged"
    return "unknown", "", f"{why}: whether the run ended well is not known"


def flat_settings(path: Path) -> dict[str, Any]:
    """Every setting of a config.yaml by its dotted key, of whatever version; lists as JSON.

    Raises:
        RunError: it cannot be read.
    """
    try:
        text = read_text(path)
        check_plain_yaml(text)
        values = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise RunError(f"{path} holds no settings")
    return _flat(with_what_null_meant(values), "")


def _flat(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Nested groups by dotted key; a list becomes JSON, so that all values compare by ==."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            flat |= _flat(value, name)
        else:
            flat[name] = json.dumps(value, default=str) if isinstance(value, list) else value
    return flat

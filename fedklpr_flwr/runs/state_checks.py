"""What a run folder's own JSON files must say before they are believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from fedklpr_flwr.config.client_name import CLIENT_NAME_RULE, is_client_name
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import parse_json

VERSION = 1
"""Of state.json. A field with a default may come without a new one."""

MOST_STATE = 64_000_000
"""Bytes that state.json may have: many thousand clients."""

_STATE = {"run": str, "round": int, "clients": dict, "pending": list, "owes": bool}
_STATE_SINCE = {"pairs": list, "continues": str, "initial": str}
_CLIENT = {"base_round": int, "mask_hash": str, "delivered": str, "examples": int}
_CLIENT_SINCE = {
    "pruned": (int, float),
    "cosine": (int, float, NoneType),
    "compared": int,
    "releases": int,
    "holds": str,
    "held_round": int,
    "kept_run": str,
    "kept_round": int,
}


def check_record(record: Any, file: Path) -> None:
    """Refuse a state.json that cannot have been written by this version.

    Args:
        record: its JSON.
        file: where it lies, for the error.

    Raises:
        RunError: another version wrote it.
        ValueError: a field is missing or too many, or is not of the kind that was written.
    """
    if isinstance(record, dict) and record.get("version") != VERSION:
        raise RunError(
            f"{file} was written by another version of fedklpr (its version is "
            f"{record.get('version')!r:.100}, this one writes {VERSION}): start anew in another "
            "folder"
        )
    _check_fields(record, {**_STATE, "version": int}, _STATE_SINCE, file.name)
    pairs = record.get("pairs", [0, 0, 0])
    if len(pairs) != 3 or not all(type(count) is int and count >= 0 for count in pairs):
        raise ValueError(f"{file.name}: pairs must be three counts, they are {pairs!r:.100}")
    for name, known in record["clients"].items():
        if not is_client_name(name):
            raise ValueError(f"{file.name} names a client {name!r:.100}, not {CLIENT_NAME_RULE}")
        _check_fields(known, _CLIENT, _CLIENT_SINCE, f"{file.name}: {name}")
    kept = [known.get("kept_run") or "" for known in record["clients"].values()]
    for run in (record["run"], *filter(None, [record.get("continues"), *kept])):
        if not is_client_name(run):  # clients' memories lie in a folder of it
            raise ValueError(f"{file.name} names the run {run!r:.100}, not {CLIENT_NAME_RULE}")
    for row in record["pending"]:
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("round"), int)
            or "client" not in row
        ):
            raise ValueError(f"{file.name}: pending must hold rows, it has {row!r:.100}")


def journal_moves(content: bytes, files: Sequence[str]) -> list[str]:
    """The files that a commit's journal moves into place, as paths below the run folder.

    Args:
        content: commit.json.
        files: what a commit writes beside the clients' masks.

    Raises:
        ValueError: it is no list of such files; a path that leaves the folder is none.
    """
    names = parse_json(content)
    if not isinstance(names, list):
        raise ValueError(f"expected a list of files, got {names!r:.100}")
    for name in names:
        if not isinstance(name, str) or not (name in files or _is_mask_file(name)):
            raise ValueError(f"it moves {name!r:.100}, which no round writes")
    return names


def _is_mask_file(name: str) -> bool:
    parts = name.split("/")
    return (
        len(parts) == 3
        and (parts[0], parts[2]) == (run_files.CLIENTS, run_files.MASK)
        and is_client_name(parts[1])
    )


def _check_fields(
    record: Any, needed: Mapping[str, Any], since: Mapping[str, Any], where: str
) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"{where} must be an object, it is {record!r:.100}")
    kinds = {**needed, **since}
    if missing := sorted(needed.keys() - record.keys()):
        raise ValueError(f"{where} has no {missing[0]}")
    if foreign := sorted(record.keys() - kinds.keys()):
        raise ValueError(f"{where} has {foreign[0]!r:.100}, which this version does not know")
    for key, value in record.items():
        wrong = isinstance(value, bool) and kinds[key] is not bool
        if wrong or not isinstance(value, kinds[key]):
            raise ValueError(f"{where}: {key} is {value!r:.100}")

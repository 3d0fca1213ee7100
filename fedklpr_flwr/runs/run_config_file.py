"""run-config.json: what a run was begun with, kept so that it can go on, and by which commits."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.git_commit import code_commit
from fedklpr_flwr.system.plain_text import parse_json, printable, read_text

_LONGEST = 1e9
"""Seconds: a run of thirty years."""


@dataclass(frozen=True)
class BegunWith:
    """What Flower carried to the server and every client.

    Attributes:
        experiment: the experiment's name.
        overrides: the other words of the command line, quoted as a shell wants them.
        real_sites: whether the run's clients are boxes of their own.
    """

    experiment: str
    overrides: str
    real_sites: bool = False


def read_begun_with(folder: Path, asked: str = "") -> BegunWith:
    """What a run was begun with.

    Args:
        folder: the run folder.
        asked: what asked for it, for the error; empty = `resume=FOLDER`.

    Raises:
        RunError: the folder has no such file, or it is damaged.
    """
    path = folder / run_files.RUN_CONFIG
    try:
        told = _read(path)
        return BegunWith(
            str(told["experiment"]), str(told["overrides"]), told.get("real_sites") is True
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        said = asked or f"resume={folder}"
        raise RunError(f"{said} is not a run folder: there is no {path.name}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({error}): write in it the experiment and the overrides that the "
            'run began with, {"experiment": NAME, "overrides": "KEY=VALUE ..."}'
        ) from error


def write_begun_with(folder: Path, begun: BegunWith, *, resumed: bool) -> None:
    """Note what a run is begun or resumed with, and the code's commit if it is another.

    Raises:
        RunError: the folder cannot be written.
    """
    # A run of before this was kept began at a commit that nobody knows.
    known = (_read(folder / run_files.RUN_CONFIG).get("commits") if resumed else []) or (
        ["not recorded"] * resumed
    )
    now, spent = code_commit(), seconds_of(folder) if resumed else None
    content: dict[str, Any] = {
        "experiment": begun.experiment,
        "overrides": begun.overrides,
        "commits": known if known[-1:] == [now] else [*known, now],
        **({"real_sites": True} if begun.real_sites else {}),
        **({} if spent is None else {"seconds": spent}),
    }
    write_atomically(folder / run_files.RUN_CONFIG, json.dumps(content, indent=1).encode())


@contextmanager
def counted_seconds(folder: Path) -> Iterator[None]:
    """Add the wall seconds of a block, however it ends, to those that the run took before."""
    began = time.perf_counter()
    try:
        yield
    finally:
        path = folder / run_files.RUN_CONFIG
        spent = (seconds_of(folder) or 0.0) + time.perf_counter() - began
        told = {**_read(path), "seconds": round(spent, 1)}
        write_atomically(path, json.dumps(told, indent=1).encode())


def seconds_of(folder: Path) -> float | None:
    """Wall seconds of all the commands that made a run; None where nobody counted them."""
    try:
        spent = _read(folder / run_files.RUN_CONFIG).get("seconds")
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    known = isinstance(spent, int | float) and not isinstance(spent, bool) and 0 <= spent < _LONGEST
    return float(spent) if known and spent is not None else None


def commits_of(folder: Path) -> tuple[str, ...]:
    """The commits that made a run; none where another door began it, or nothing can be read."""
    try:
        return tuple(printable(c) for c in _read(folder / run_files.RUN_CONFIG).get("commits", ()))
    except (OSError, ValueError, TypeError, AttributeError):
        return ()


def _read(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = parse_json(read_text(path))
    return told

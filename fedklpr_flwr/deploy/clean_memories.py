"""What finished runs leave on a box: masks and models of its people, until somebody removes them.

A box is never told that a run has ended, so that age decides: a run that goes on writes a record in
every round. Of runs that continue each other the newest is what the next one starts from.
"""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fedklpr_flwr.config.client_name import is_client_name
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.system import run_files

_OURS = ("round-*.safetensors", "received-*.payload", "final.safetensors", "pictures.json")
_DAY = 86_400.0


@dataclass(frozen=True)
class OldMemory:
    """The memory of one run.

    Attributes:
        folder: where it lies.
        days: since its newest file was written.
        size: bytes.
        is_next: no later run here has gone on with it, and it goes on with the memory of a run
            before or is the newest here: what the next run would start from.
    """

    folder: Path
    days: float
    size: int
    is_next: bool = False


def old_memories(root: Path, days: float) -> list[OldMemory]:
    """Find the memories of runs in which nothing was written for so long.

    Args:
        root: the folder of a box's memories: `state-dir` of its node.toml.
        days: at least 0.

    Returns:
        By name; folders that hold no memory of ours, and links, are no memories.

    Raises:
        SettingsError: there is no such folder, or it is no number of days.
    """
    if not days >= 0:  # no number is neither
        raise SettingsError(f"--days {days}: expected a number of days, at least 0")
    if not root.is_dir():
        raise SettingsError(
            f"{root} is no folder: expected the memories of a box, as its node.toml has state-dir"
        )
    runs = [run for run in sorted(root.iterdir()) if _is_memory(run)]
    begun = {run: _continued(run) for run in runs}
    over = {before for run in runs if _has_trained(run) for before in begun[run]}
    found = [_memory(run) for run in runs]
    newest = min((memory.days for memory in found), default=0.0)
    found = [
        replace(memory, is_next=memory.folder.name not in over)
        if begun[memory.folder] or memory.days == newest
        else memory
        for memory in found
    ]
    return [memory for memory in found if memory.days >= days]


def remove_memory(memory: OldMemory) -> None:
    """Remove a run's memory; links in it are removed and not followed.

    Raises:
        RunError: it cannot be removed.
    """
    try:
        shutil.rmtree(memory.folder)
    except OSError as error:
        raise RunError(f"{memory.folder} cannot be removed: {error.strerror or error}") from error


def _is_memory(run: Path) -> bool:
    if run.is_symlink() or not run.is_dir() or not is_client_name(run.name):
        return False
    return any(True for kind in _OURS for _ in run.glob(f"*/{kind}"))


def _continued(run: Path) -> set[str]:
    """The runs whose memories a run's clients began with."""
    notes = [note for note in run.glob(f"*/{run_files.CONTINUES}") if not note.is_symlink()]
    return {note.read_text(encoding="utf-8", errors="replace") for note in notes}


def _has_trained(run: Path) -> bool:
    """Whether a run's memory is more than what it began with."""
    return any(record.stem != "round-0000" for record in run.glob("*/round-*.safetensors"))


def _memory(run: Path) -> OldMemory:
    states = [
        os.lstat(os.path.join(folder, name)) for folder, _, names in os.walk(run) for name in names
    ]
    newest = max(state.st_mtime for state in states)
    age = max(0.0, time.time() - newest) / _DAY
    return OldMemory(run, age, sum(state.st_size for state in states))

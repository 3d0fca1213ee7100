"""The runs that a run continues, one after the other, and where their clients' memories lie."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.runs.trusted_runs import read_run_settings, refuse_links
from fedklpr_flwr.system.paths import memory_below


def runs_before(continues: str | None) -> Iterator[tuple[Path, str | None]]:
    """Follow a chain of runs to its first.

    Args:
        continues: `run.continues` of a run: the folder of the one before; None = it has none.

    Returns:
        The newest first: a run's folder, and its `run.memory`. The chain ends where a folder is
        gone or cannot be read, and behind a run that was not made here by this user: what that
        continues is another's word.
    """
    seen: set[Path] = set()
    while continues is not None and (folder := Path(continues)) not in seen:
        seen.add(folder)
        try:
            refuse_links(folder)
            run = read_run_settings(folder).run
        except FedKlprError:
            return
        yield folder, run.memory
        continues = run.continues


def run_chain(folder: Path) -> tuple[list[Path], str]:
    """The runs that lead to a run, the oldest first and the run itself last; see `runs_before`.

    Returns:
        The folders, and what the oldest of them continues, where that cannot be read; empty where
        it began anew.
    """
    try:
        continues = read_run_settings(folder).run.continues
    except FedKlprError:
        return [folder], ""
    here = folder.resolve()
    before = [one for one, _ in runs_before(continues) if one != here]
    for one in before:
        continues = read_run_settings(one).run.continues
    lost = continues is not None and Path(continues) not in (here, *before)
    return [*reversed(before), folder], str(continues) if lost else ""


@lru_cache(maxsize=16)
def memories_before(continues: str | None) -> tuple[Path, ...]:
    """The folders of client memories of the runs before, in a simulation: beside each run.

    A real box is never told where the server's runs lie; it has one folder for the memories of all.
    """
    return tuple(
        Path(memory) if memory else memory_below(folder)
        for folder, memory in runs_before(continues)
    )

"""A run folder read back: what was run, its rows, and whether it is whole."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedklpr_flwr.errors import FedKlprError, RunError
from fedklpr_flwr.runs.record_reader import flat_settings, read_status, whole_rounds
from fedklpr_flwr.runs.rows import Row
from fedklpr_flwr.runs.run_config_file import commits_of, seconds_of
from fedklpr_flwr.runs.trusted_runs import refuse_links
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import parse_json, printable
from fedklpr_flwr.wording import counted

_MARKS = (
    run_files.ROWS,
    run_files.CONFIG,
    run_files.RUN_CONFIG,
    run_files.STATUS,
    run_files.JOB_LOG,
)


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        folder: where it lies.
        settings: every setting by its dotted key; lists as JSON. Settings of another version of
            this package are read as they stand.
        rows: the rows of its whole rounds.
        status: of status.json: running, finished or failed; unknown without that file.
        commits: the code's commit when it began, and each time that it went on with another.
        seconds: wall seconds of the commands that made it; None where they were not counted.
    """

    folder: Path
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    status: str
    commits: tuple[str, ...] = ()
    seconds: float | None = None

    @property
    def commit(self) -> str:
        """The commits in words."""
        return ", then ".join(self.commits) or "not recorded"

    @property
    def method(self) -> str:
        """The method's name."""
        return printable(self.settings["method.name"])

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return printable(self.settings["experiment_name"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.settings["seed"])

    @property
    def rounds(self) -> int:
        """Rounds it was to run."""
        return int(self.settings["federation.rounds"])

    @property
    def sites(self) -> tuple[tuple[str, str], ...]:
        """Name and reader of every site whose pictures it used."""
        joined = parse_json(self.settings.get("data.joined") or "[]")
        clients = joined or parse_json(self.settings["data.clients"])
        return tuple(sorted((printable(one["name"]), printable(one["reader"])) for one in clients))

    @property
    def summaries(self) -> list[Row]:
        """The rounds' own rows, in order."""
        return sorted((row for row in self.rows if row.client is None), key=lambda row: row.round)

    @property
    def final(self) -> Row:
        """The last whole round's own row."""
        return self.summaries[-1]

    @property
    def final_clients(self) -> list[Row]:
        """The clients' rows of the last whole round."""
        last = self.final.round
        return [row for row in self.rows if row.client is not None and row.round == last]

    @property
    def complete(self) -> bool:
        """Whether all its rounds are there and it ended well."""
        return self.final.round == self.rounds and self.status in ("finished", "unknown")


@dataclass(frozen=True)
class LeftOut:
    """A run that is not in a comparison, and why."""

    folder: Path
    why: str


def read_run(folder: Path) -> RunRecord:
    """A run folder.

    Raises:
        RunError: it is none, it is damaged, or no round is whole yet.
    """
    refuse_links(folder)
    rows = whole_rounds(folder, [])
    if not rows:
        raise RunError(f"{folder}: no round is whole yet")
    settings, (status, _, _) = flat_settings(folder / run_files.CONFIG), read_status(folder)
    record = RunRecord(folder, settings, rows, status, commits_of(folder), seconds_of(folder))
    try:
        _ = record.method, record.experiment, record.seed, record.rounds, record.sites
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(f"{folder / 'config.yaml'} is not a run's: {error!r}") from error
    return record


def find_runs(places: Iterable[Path]) -> list[Path]:
    """The run folders among some folders and below them, each once.

    Raises:
        RunError: a folder does not exist, or has no run in it.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise RunError(f"{place} is not a folder: expected a run folder, or one of run folders")
        here = _below(place.resolve())
        if not here:
            raise RunError(f"{place} has no run in it: expected folders with a run.jsonl")
        found |= dict.fromkeys(here)
    return list(found)


def read_runs(folders: Sequence[Path]) -> tuple[list[RunRecord], list[LeftOut]]:
    """The whole runs of some folders, and the others with the reason."""
    whole: list[RunRecord] = []
    left: list[LeftOut] = []
    for folder in folders:
        try:
            record = read_run(folder)
        except FedKlprError as error:
            log = "; see its job.log" if (folder / run_files.JOB_LOG).exists() else ""
            missing = not (folder / run_files.ROWS).exists()
            left.append(LeftOut(folder, f"it wrote no round{log}" if missing else str(error)))
            continue
        if record.complete:
            whole.append(record)
        else:
            done = f"{record.final.round} of {counted(record.rounds, 'round')}, {record.status}"
            left.append(LeftOut(folder, f"{done}; go on with resume={folder}"))
    return whole, left


def _below(folder: Path) -> list[Path]:
    """A run folder itself, or those below it; links are not followed."""
    runs = []
    for place, names, files in os.walk(folder):
        if set(files) & set(_MARKS):
            runs.append(Path(place))
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))
    return runs

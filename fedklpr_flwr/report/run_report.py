"""What a run folder tells, whole or not: a run that goes on, failed, or was cut off in a line."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from fedklpr_flwr.config.compose import read_settings
from fedklpr_flwr.errors import FedKlprError, RunError, SettingsError
from fedklpr_flwr.report.layer_density import ModelDensity, model_density
from fedklpr_flwr.report.week_by_week import ALONE, WeekByWeek, read_week_by_week
from fedklpr_flwr.runs.record_reader import flat_settings, read_status, whole_rounds
from fedklpr_flwr.runs.rows import Row, is_withheld, row_lines
from fedklpr_flwr.runs.trusted_runs import refuse_links
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import parse_json

_MARKS = (run_files.ROWS, run_files.CONFIG, run_files.STATUS, run_files.RUN_CONFIG)


@dataclass(frozen=True)
class RunReport:
    """A run as far as its folder tells of it.

    Attributes:
        folder: where it lies.
        settings: every setting by its dotted key; empty where config.yaml cannot be read.
        rows: the rows of its whole rounds.
        status: of status.json: running, finished or failed; unknown without that file.
        remarks: what makes it partial, a sentence each; none = all its rounds are there.
        unsaid: keys of figures that some row lacks: they are unknown, and no zeros.
        density: of its masks, layer by layer; None where there are none, or `faulty` says why.
        faulty: what is wrong with masks or model; empty where nothing is.
        chain: it and the runs that it continues, the oldest first.
    """

    folder: Path
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    status: str
    remarks: tuple[str, ...]
    unsaid: frozenset[str] = frozenset()
    density: ModelDensity | None = None
    faulty: str = ""
    chain: WeekByWeek = ALONE

    def lacks(self, *keys: str) -> str:
        """Why figures that need these keys are unknown; empty where they are known."""
        missing = [key for key in keys if key in self.unsaid]
        return f"Not known: rows of this run lack {', '.join(missing)}." if missing else ""

    @property
    def private(self) -> bool:
        """Whether updates were noised, and figures of the pictures withheld."""
        return self.settings.get("privacy.kind") == "local_dp" or any(map(is_withheld, self.rows))

    def withheld(self, *, scores: bool = False) -> str:
        """Why figures of the pictures are not known; empty where they are said.

        Args:
            scores: of accuracies, which `privacy.scores=true` lets out.
        """
        if not self.private or (scores and self.settings.get("privacy.scores")):
            return ""
        return "Withheld: with privacy=local_dp no figure made of the pictures leaves a site."

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def rounds(self) -> int | None:
        """Rounds it was to run; None where that is not known."""
        return _rounds(self.settings)

    @cached_property
    def summaries(self) -> tuple[Row, ...]:
        """The rounds' own rows, in order."""
        return tuple(sorted((r for r in self.rows if r.client is None), key=lambda r: r.round))

    @cached_property
    def by_client(self) -> dict[str, tuple[Row, ...]]:
        """Each client's rows in order of the rounds, clients by name."""
        found: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: (row.client or "", row.round)):
            if row.client is not None:
                found.setdefault(row.client, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    @property
    def trained(self) -> dict[str, tuple[Row, ...]]:
        """The same without round 0, in which nothing is trained."""
        later = {n: tuple(r for r in rows if r.round) for n, rows in self.by_client.items()}
        return {name: rows for name, rows in later.items() if rows}


def read_run_report(folder: Path) -> RunReport:
    """A run folder, as much of it as there is.

    Raises:
        RunError: it is no run folder, or its run.jsonl is damaged before its last line.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder: expected a run folder, as fedklpr run leaves it")
    if not any((folder / name).is_file() for name in _MARKS):
        raise RunError(f"{folder} holds no run: expected a folder with {', '.join(_MARKS)}")
    refuse_links(folder)
    remarks: list[str] = []
    rows = whole_rounds(folder, remarks)
    unsaid = _unsaid_keys(folder / run_files.ROWS, {row.round for row in rows}, remarks)
    settings = _settings(folder, remarks)
    density, faulty = _density(folder, remarks)
    status = _status(folder, rows, _rounds(settings), remarks)
    chain = read_week_by_week(folder)
    return RunReport(folder, settings, rows, status, tuple(remarks), unsaid, density, faulty, chain)


def _rounds(settings: Mapping[str, Any]) -> int | None:
    found = settings.get("federation.rounds")
    return found if isinstance(found, int) else None


_COUNTED = {item.name for item in fields(Row) if item.default is not None} - {"round", "client"}
"""Keys that every row has in this version, and whose lack would read as a zero."""


def _unsaid_keys(path: Path, rounds: set[int], remarks: list[str]) -> frozenset[str]:
    """Keys that a row of a whole round lacks, and a remark that says so."""
    unsaid: set[str] = set()
    if rounds:
        for line in row_lines(path):
            try:
                said = parse_json(line)
            except ValueError:
                continue  # the half-written last line, of which there is a remark
            if isinstance(said, dict) and said.get("round") in rounds:
                unsaid |= _COUNTED - said.keys()
    if unsaid:
        remarks.append(
            f"rows of run.jsonl lack {', '.join(sorted(unsaid))}, as another version wrote them: "
            "what hangs on that is not known, and not shown as zero"
        )
    return frozenset(unsaid)


def _density(folder: Path, remarks: list[str]) -> tuple[ModelDensity | None, str]:
    """The densities of masks and model, or what is wrong with them, which is a remark too."""
    try:
        return model_density(folder), ""
    except FedKlprError as error:
        remarks.append(f"masks or merged model are damaged: {error}")
        return None, str(error)


def _settings(folder: Path, remarks: list[str]) -> Mapping[str, Any]:
    path = folder / run_files.CONFIG
    try:
        found = flat_settings(path)
    except RunError as error:
        remarks.append(f"what was run is not known: {error}")
        return {}
    try:
        read_settings(path)
    except SettingsError as error:
        remarks.append(
            f"{path} is of another version ({error}): no model is opened, and nobody is looked at"
        )
    return found


def _status(folder: Path, rows: tuple[Row, ...], rounds: int | None, remarks: list[str]) -> str:
    """The run's status, and a remark where it has not finished all its rounds, or is not known."""
    status, message, why = read_status(folder)
    if why:
        remarks.append(why)
    last = max((row.round for row in rows), default=None)
    done = "no round" if last is None else f"round {last}"
    of = f" of {rounds}" if rounds is not None else ""
    if status == "failed":
        when = "before its first round was over" if last is None else f"after {done}{of}"
        remarks.insert(0, f"the run failed {when}" + (f": {message}" if message else ""))
    elif status == "running":
        now = f"; {message}" if message else ""
        told = f"the run is going on, or was cut off: it tells of {done}{of} so far{now}"
        remarks.insert(0, told)
    elif last is None or (rounds is not None and last < rounds):
        remarks.insert(0, f"it tells of {done}{of}; status.json says {status}")
    return status

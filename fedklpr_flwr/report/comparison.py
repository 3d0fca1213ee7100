"""Runs set side by side: one group a configuration, its runs differing in the seed alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedklpr_flwr.config.client_name import is_client_name
from fedklpr_flwr.config.round_overrides import later_by
from fedklpr_flwr.errors import FedKlprError, RunError, SettingsError
from fedklpr_flwr.planning.ideal_schedule import ideal_densities, ideal_saving
from fedklpr_flwr.report.mean_std import Paired, Spread, paired_difference, spread_of
from fedklpr_flwr.report.run_figures import figures_of
from fedklpr_flwr.report.summary import noised
from fedklpr_flwr.runs.run_record import LeftOut, RunRecord, find_runs, read_runs
from fedklpr_flwr.system.plain_text import printable

_NOT_THE_METHODS = (
    "seed",
    "resume",
    "run.dir",
    "run.memory",
    "data.root",
    "data.cache",
    "federation.wait_seconds",
    "federation.round_seconds",
    "federation.evaluate_seconds",
    "federation.at_once",
)
_WORTH_A_NOTE = (
    "experiment_name",
    "federation.rounds",
    "model.backbone",
    "model.weights",
    "model.height",
    "model.width",
    "data.root",
)


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, by seed."""

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def method(self) -> str:
        """The method's name."""
        return self.runs[0].method

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return [run.seed for run in self.runs]

    @property
    def pooled(self) -> bool:
        """Whether one client held all pictures: no federation, and no score of a site's own."""
        return any(run.settings.get("data.join") for run in self.runs)

    @property
    def sends(self) -> bool:
        """Whether any part of a model travels between sites and server."""
        at_home = self.runs[0].settings.get("method.personal_parts") == "all"
        return not self.pooled and not at_home

    @property
    def ideal_saving(self) -> float | None:
        """The share that the paper's count would save had no prune been held.

        None for a method that does not prune or sends nothing, and for settings of a version that
        lacks a key of the schedule.
        """
        return _ideal_saving(self.runs[0]) if self.sends else None

    def spread(self, figure: str) -> Spread | None:
        """A figure of RunFigures over the seeds."""
        return spread_of([getattr(figures_of(run), figure) for run in self.runs])

    def by_seed(self, figure: str) -> dict[int, float | None]:
        """A figure of RunFigures by seed."""
        return {run.seed: getattr(figures_of(run), figure) for run in self.runs}

    @property
    def clients(self) -> list[str]:
        """Clients with an accuracy in the last round of some run; none where all are one."""
        if self.pooled:
            return []
        rows = [row for run in self.runs for row in run.final_clients]
        return sorted({row.client for row in rows if row.client and row.rank1 is not None})

    def client_by_seed(self, client: str, figure: str) -> dict[int, float | None]:
        """A figure of one client's row of the last round, by seed."""
        return {
            run.seed: getattr(row, figure)
            for run in self.runs
            for row in run.final_clients
            if row.client == client
        }

    def client_spread(self, client: str, figure: str) -> Spread | None:
        """The same over the seeds."""
        return spread_of(list(self.client_by_seed(client, figure).values()))


@dataclass(frozen=True)
class Comparison:
    """Groups from the highest mean Rank-1 down, runs left out, and what a reader must know."""

    groups: tuple[Group, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def clients(self) -> list[str]:
        """All clients that have an accuracy somewhere."""
        return sorted({client for group in self.groups for client in group.clients})

    @property
    def commits(self) -> dict[str, list[str]]:
        """The commits that the runs were made at, each with the labels of its groups."""
        found: dict[str, dict[str, None]] = {}
        for group in self.groups:
            for run in group.runs:
                found.setdefault(run.commit, {})[group.label] = None
        return {commit: list(labels) for commit, labels in found.items()}

    def group(self, name: str | None) -> Group:
        """The group of a label, or the first of a method.

        Args:
            name: a label or a method; None = fedklpr where there is one, else the first.

        Raises:
            SettingsError: there is none such.
        """
        wanted = name or "fedklpr"
        by_name = {group.method: group for group in reversed(self.groups)}
        by_name |= {group.label: group for group in self.groups}
        if wanted in by_name:
            return by_name[wanted]
        if name is None:
            return self.groups[0]
        labels = "; ".join(group.label for group in self.groups)
        raise SettingsError(f"--reference {name!r} is none of the methods compared: {labels}")

    def paired(self, ours: Group, theirs: Group, figure: str) -> Paired | None:
        """Ours minus theirs over the seeds that both have."""
        return paired_difference(ours.by_seed(figure), theirs.by_seed(figure))


def _ideal_saving(run: RunRecord) -> float | None:
    known = run.settings
    keys = ("pruning.rate", "pruning.target", "pruning.first_round")
    if known.get("method.pruning", "none") == "none" or any(known.get(k) is None for k in keys):
        return None
    rate, target, first = (known[key] for key in keys)
    first = later_by(known.get("pruning.after"), first, run.rounds)
    schedule = str(known.get("pruning.schedule") or "geometric")
    return ideal_saving(ideal_densities(run.rounds, rate, target, first, schedule))


def compare_folders(places: Iterable[Path]) -> Comparison:
    """Compare the runs in and below some folders.

    Raises:
        RunError: there is no whole run.
        SettingsError: the runs are of different sites.
    """
    found, left = read_runs(find_runs(places))
    runs = [run for run in found if not _unusable(run, left)]
    if not runs:
        reasons = "; ".join(f"{one.folder}: {one.why}" for one in left)
        raise RunError(f"none of the runs is whole: {reasons}")
    return compare_runs(runs, left)


def _unusable(run: RunRecord, left: list[LeftOut]) -> bool:
    """Whether a run's figures cannot be had; why is noted, and the others are compared."""
    try:
        for row in run.rows:
            if row.client is not None and not is_client_name(row.client):
                raise RunError(f"{run.folder}: a client is called {row.client!r:.100}")
        figures_of(run)
        _ideal_saving(run)
    except (FedKlprError, ValueError, TypeError, ArithmeticError) as error:
        left.append(LeftOut(run.folder, str(error)))
        return True
    return False


def compare_runs(runs: Sequence[RunRecord], left_out: Sequence[LeftOut] = ()) -> Comparison:
    """Group runs that differ only in the seed, and label the groups by what tells them apart.

    Raises:
        SettingsError: the runs are of different sites.
    """
    _same_sites(runs)
    bundles: dict[tuple, dict[int, RunRecord]] = {}
    twice = []
    for run in sorted(runs, key=lambda run: run.folder.name):
        bundle = bundles.setdefault(tuple(sorted(_identity(run).items(), key=str)), {})
        if run.seed in bundle:
            twice.append(LeftOut(run.folder, f"the same run as {bundle[run.seed].folder}"))
        bundle.setdefault(run.seed, run)
    sets = [tuple(bundle[seed] for seed in sorted(bundle)) for bundle in bundles.values()]
    groups = [Group(label, one) for label, one in zip(_labels(sets), sets, strict=True)]
    groups.sort(key=lambda group: -(_mean(group.spread("rank1"))))
    return Comparison(tuple(groups), (*left_out, *twice), tuple(_notes(groups)))


def _mean(spread: Spread | None) -> float:
    return spread.mean if spread else -1.0


def _identity(run: RunRecord) -> dict[str, Any]:
    """What makes two runs the same but for the seed."""
    return {
        key: value
        for key, value in run.settings.items()
        if key not in _NOT_THE_METHODS and not key.startswith("report.")
    }


def _labels(sets: Sequence[tuple[RunRecord, ...]]) -> list[str]:
    """A label for each set: the method, and what tells it from others of the same method."""
    labels = []
    for runs in sets:
        same = [other[0] for other in sets if other[0].method == runs[0].method]
        labels.append(_label(runs[0], same))
    return labels


def _label(run: RunRecord, same: Sequence[RunRecord]) -> str:
    if len(same) == 1:
        return run.method
    if len({other.experiment for other in same}) == len(same):
        return f"{run.method} ({run.experiment})"
    settings = [_identity(other) for other in same]
    keys = sorted({key for one in settings for key in one})
    apart = [key for key in keys if len({str(one.get(key, "-")) for one in settings}) > 1]
    own = _identity(run)
    return ", ".join([run.method, *(f"{key}={_text(own.get(key, '-'))}" for key in apart)])


def _text(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else printable(value)


def _same_sites(runs: Sequence[RunRecord]) -> None:
    first = runs[0]
    for run in runs:
        if run.sites != first.sites:
            raise SettingsError(
                f"these runs are of different data and cannot be compared: {first.folder} has "
                f"{_names(first)}; {run.folder} has {_names(run)}"
            )


def _names(run: RunRecord) -> str:
    return ", ".join(name for name, _ in run.sites)


def _notes(groups: Sequence[Group]) -> list[str]:
    """What makes figures less comparable than they look."""
    notes = []
    runs = [run for group in groups for run in group.runs]
    for key in _WORTH_A_NOTE:
        if said := _apart(groups, {run.folder: _text(run.settings.get(key)) for run in runs}):
            notes.append(f"{key} differs: {said}")
    notes += [
        f"{group.label} pools the pictures of all sites at one client: its bytes mean nothing"
        for group in groups
        if group.pooled
    ]
    seeds_of = {
        run.folder: " ".join(map(str, group.seeds)) for group in groups for run in group.runs
    }
    if said := _apart(groups, seeds_of):
        notes.append(f"the seeds differ: {said}; each mean is over its own")
    for run in runs:
        scored = {row.client for row in run.rows if row.client and row.rank1 is not None}
        silent = scored - {row.client for row in run.final_clients if row.rank1 is not None}
        if silent:
            names = ", ".join(sorted(str(name) for name in silent))
            notes.append(f"{run.folder.name}: the last round has no score of {names}")
        if said := noised(run.settings, run.rows):
            notes.append(f"{run.folder.name} {said}")
    return notes


def _apart(groups: Sequence[Group], value: Mapping[Path, str]) -> str:
    """Which labels have which value, where there is more than one; else nothing."""
    holders: dict[str, dict[str, None]] = {}
    for group in groups:
        for run in group.runs:
            holders.setdefault(value[run.folder], {})[group.label] = None
    if len(holders) < 2:
        return ""
    return "; ".join(f"{value} ({', '.join(labels)})" for value, labels in holders.items())

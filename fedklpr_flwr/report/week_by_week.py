"""The runs that a run continues and itself, a line each, and what an operator should look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.runs.record_reader import whole_rounds
from fedklpr_flwr.runs.rows import Row
from fedklpr_flwr.runs.run_chain import run_chain
from fedklpr_flwr.wording import counted, printable

HEADINGS = ("run", "pictures", "new", "gone", "clusters", "Rank-1", "mAP", "shift")

SAID = (
    "Each run starts from the merged model, the masks and the histories of the one above it. New "
    "and gone count training pictures against that run, at the clients that were in it; gone are "
    "also those that data.newest_days and data.most_per_camera_day leave out now. Accuracies "
    "are of each run's last round. Shift is how far the first training of a run moved the features "
    "of 32 of a site's pictures, mean 1 - cosine over the sites: it needs no labels, and grows "
    "where the pictures are not what the model knew. The first run starts from an untrained model, "
    "and its shift is compared with no other."
)

_FELL = 0.02
"""A fall of an accuracy that a few dozen queries make by chance."""

_ROSE = 1.5
"""Times the largest shift that the runs before had, from which on a shift stands out."""


@dataclass(frozen=True)
class Week:
    """One run of a chain, as far as its rows tell.

    Attributes:
        name: of its folder.
        pictures: that its clients last trained on; None where that is withheld or nobody trained.
        new: training pictures that the run before did not have; None where nobody could say.
        gone: those of the run before that it has not.
        clusters: of the last round, over all clients.
        rank1: mean Rank-1 of the last round, a fraction.
        map: mean mAP likewise.
        shift: mean feature shift of round 1; None where it is not known.
        scores: Rank-1 and mAP of the last round by client, of those that have both.
    """

    name: str
    pictures: int | None
    new: int | None
    gone: int | None
    clusters: int | None
    rank1: float | None
    map: float | None
    shift: float | None
    scores: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class WeekByWeek:
    """A chain of runs that continue each other.

    Attributes:
        weeks: the oldest first; the last is the run that is looked at.
        missing: the folder of the run before the oldest, where it cannot be read any more.
    """

    weeks: tuple[Week, ...] = ()
    missing: str = ""

    @property
    def is_chain(self) -> bool:
        """Whether the run continues another at all."""
        return len(self.weeks) > 1 or bool(self.missing)

    @property
    def remark(self) -> str:
        """What of the chain is not shown; empty where all of it is."""
        return self.missing and f"The run before, {self.missing}, cannot be read here any more."

    @property
    def cells(self) -> list[list[str]]:
        """The table's lines, as `HEADINGS` has it."""
        return [
            [
                week.name,
                *map(_count, (week.pictures, week.new, week.gone, week.clusters)),
                *map(_fraction, (week.rank1, week.map, week.shift)),
            ]
            for week in self.weeks
        ]

    def alarms(self) -> list[str]:
        """What of the newest run stands out against the runs before, a sentence each."""
        found = [_fall(self.weeks, place, word) for place, word in enumerate(("Rank-1", "mAP"))]
        return [sentence for sentence in (*found, _rise(self.weeks)) if sentence]


ALONE = WeekByWeek()
"""Of a run that continues no other."""


def read_week_by_week(folder: Path) -> WeekByWeek:
    """Read the chain of runs that ends with a run; of each its run.jsonl alone.

    Args:
        folder: the run folder; of one that continues no other nothing is read.
    """
    folders, missing = run_chain(folder)
    if len(folders) < 2 and not missing:
        return ALONE
    weeks = []
    for one in folders:
        try:
            rows = whole_rounds(one, [])
        except FedKlprError:
            rows = ()
        weeks.append(week_of(one.resolve().name, rows))
    return WeekByWeek(tuple(weeks), missing)


def week_of(name: str, rows: Sequence[Row]) -> Week:
    """A run's figures from its rows.

    Args:
        name: the run's.
        rows: of its whole rounds; a run without any has no figure.
    """
    ordered = sorted(rows, key=lambda row: row.round)
    clients = [row for row in ordered if row.client is not None]
    rounds = {row.round: row for row in ordered if row.client is None}
    last = max(rounds, default=0)
    final, first = rounds.get(last), rounds.get(1)
    return Week(
        printable(name),
        pictures=_sum_by_client(clients[::-1], lambda row: row.examples),
        new=_sum_by_client(clients, lambda row: row.pictures_new),
        gone=_sum_by_client(clients, lambda row: row.pictures_gone),
        clusters=final.clusters if final and last else None,
        rank1=final.rank1 if final else None,
        map=final.map if final else None,
        shift=first.cosine_distance if first else None,
        scores={
            str(row.client): (row.rank1, row.map)
            for row in clients
            if row.round == last and row.rank1 is not None and row.map is not None
        },
    )


def _sum_by_client(rows: Sequence[Row], figure: Callable[[Row], int | None]) -> int | None:
    """The sum over clients of the first row that has a figure; None where no row has it."""
    found: dict[str | None, int] = {}
    for row in rows:
        if (value := figure(row)) is not None:
            found.setdefault(row.client, value)
    return sum(found.values()) if found else None


def _fall(weeks: Sequence[Week], place: int, word: str) -> str:
    """Say that an accuracy fell since the run before, further than between any runs before."""
    pairs = [_both(*pair, place) for pair in pairwise(weeks)]
    if not pairs or pairs[-1] is None:
        return ""
    clients, before, now = pairs[-1]
    earlier = [was - then for one in pairs[:-1] if one for _, was, then in [one]]
    if before - now <= max(_FELL, *earlier, 0.0):
        return ""
    return (
        f"{word} fell from {before:.3f} to {now:.3f} since the run before (mean of "
        f"{counted(clients, 'client')} scored in both), further than between any two runs "
        "before: compare both models on the same pictures before the new one is used"
    )


def _both(before: Week, now: Week, place: int) -> tuple[int, float, float] | None:
    """How many clients two runs both scored, and their mean in either; None where there is none."""
    clients = sorted(before.scores.keys() & now.scores.keys())
    if not clients:
        return None
    means = [fmean(week.scores[client][place] for client in clients) for week in (before, now)]
    return len(clients), means[0], means[1]


def _rise(weeks: Sequence[Week]) -> str:
    """Say that the features moved further than in any run before that started from a model."""
    *earlier, newest = [week.shift for week in weeks[1:]] or [None]
    known = [shift for shift in earlier if shift is not None]
    if newest is None or not known or newest <= _ROSE * max(known):
        return ""
    return (
        f"the feature shift is {newest:.3f}, and was {max(known):.3f} at most in the runs before: "
        "the new pictures are not what the model knew (a camera that was moved, another season?)"
    )


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

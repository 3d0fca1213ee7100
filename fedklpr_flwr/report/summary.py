"""The final table of a run: in the terminal, and as report.md in the run folder."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedklpr_flwr.report.week_by_week import HEADINGS as CHAIN_HEADINGS
from fedklpr_flwr.report.week_by_week import SAID, WeekByWeek, read_week_by_week
from fedklpr_flwr.runs.label_health import labels_line
from fedklpr_flwr.runs.rows import Row, is_away, is_withheld, read_rows
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import write_atomically

HEADINGS = (
    *("client", "Rank-1", "Rank-5", "mAP", "clusters"),
    *("pruned", "MB up", "MB down", "status"),
)
SHOWN = (0, 1, 3, 4, 5, 8)
"""Of them, those that fit a terminal of 80 columns."""


class Totals(NamedTuple):
    """Bytes of a whole run."""

    payload: int
    message: int
    dense: int
    paper: int
    masks: int
    vectors: int
    front: int

    @property
    def by_part(self) -> str:
        """What the payload was spent on, in words; empty for a run of before that was counted."""
        if not (self.masks + self.vectors and self.payload):
            return ""
        parts = {
            "masks": self.masks,
            "batch norm and biases": self.vectors,
            "weights": self.payload - self.masks - self.vectors - self.front,
            "the rest": self.front,
        }
        shares = {part: f"{size / self.payload:.1%}" for part, size in parts.items()}
        told = (f"{part} {share}" for part, share in shares.items() if share != "0.0%")
        numbers = f"; {32 * self.payload / self.paper:.2f} bits a number" if self.paper else ""
        return f"of that {', '.join(told)}{numbers}"

    @property
    def saved(self) -> float:
        """Share of dense float32 that was not sent."""
        return 1 - self.payload / self.dense if self.dense else 0.0

    @property
    def saved_paper(self) -> float:
        """The same by the paper's count, 4 bytes a surviving number."""
        return 1 - self.paper / self.dense if self.dense else 0.0


def totals(rows: Iterable[Row]) -> Totals:
    """Bytes of all clients' rows."""
    clients = [row for row in rows if row.client is not None]
    return Totals(
        sum(row.bytes_up + row.bytes_down for row in clients),
        sum(row.bytes_message_up + row.bytes_message_down for row in clients),
        sum(row.bytes_dense for row in clients),
        sum(row.bytes_paper for row in clients),
        sum(row.bytes_masks for row in clients),
        sum(row.bytes_vectors for row in clients),
        sum(row.bytes_front for row in clients),
    )


def table(rows: Sequence[Row]) -> list[list[str]]:
    """One line a client and one for the mean: round 0 against the last round."""
    last = max((row.round for row in rows), default=0)
    names = sorted({row.client for row in rows if row.client is not None})
    lines = []
    for name in (*names, None):
        of_client = [row for row in rows if row.client == name]
        first = next((row for row in of_client if row.round == 0), None)
        final = next((row for row in of_client if row.round == last), None)
        lines.append(
            [
                name or "mean, total",
                _change(first, final, "rank1"),
                _change(first, final, "rank5"),
                _change(first, final, "map"),
                _clusters(final),
                f"{final.pruned:.1%}" if final else "-",
                f"{sum(row.bytes_up for row in of_client) / 1e6:.2f}",
                f"{sum(row.bytes_down for row in of_client) / 1e6:.2f}",
                _troubles(of_client),
            ]
        )
    return lines


def _clusters(row: Row | None) -> str:
    """Clusters of a round, and how many pictures they are of."""
    if row is None or row.clusters is None or not row.round:
        return "-"
    if row.client is not None and row.status != "merged":
        return "-"
    if row.examples is None or row.outliers is None:
        return str(row.clusters)
    return f"{row.clusters} of {row.examples - row.outliers}"


def _coarseness(rows: Sequence[Row]) -> str:
    """How far what was sent lay from what was meant, in words; empty where nothing is cut off."""
    last = rows[-1] if rows else Row(0, None)
    told = []
    if last.step_up is not None and last.step_down is not None:
        steps = f"{last.step_up:g} up and {last.step_down:g} down"
        told.append(f"weights were told in steps of {steps}, in root mean squares of their change")
    if last.owed is not None:
        told.append(
            f"what updates cut off, and tell next time, was {last.owed:.2f} of what was learnt"
        )
    return f"in round {last.round} {'; '.join(told)}" if told else ""


def _troubles(rows: Sequence[Row]) -> str:
    """How many rounds failed or were missed; of the run's own rows, in how many anybody failed."""
    count = Counter("failed" if row.failed else "away" for row in rows if _is_trouble(row))
    return ", ".join(f"{word} {count[word]}x" for word in sorted(count)) or "ok"


def _is_trouble(row: Row) -> bool:
    return bool(row.failed) or (row.client is not None and is_away(row))


def closing_lines(rows: Sequence[Row]) -> list[str]:
    """What the run cost, in two or three sentences, and what the final fine-tuning gained."""
    sums = totals(rows)
    lines = [
        f"sent {sums.payload / 1e6:.2f} MB (whole messages {sums.message / 1e6:.2f} MB), "
        f"dense float32 would have been {sums.dense / 1e6:.2f} MB: {sums.saved:.1%} less",
        *filter(None, [sums.by_part, _coarseness(rows)]),
        f"by the paper's count (4 bytes a surviving number): {sums.saved_paper:.1%} less",
    ]
    lines += filter(None, [labels_line(rows), worse_line(rows)])
    lines += _privacy_lines(rows)
    last = rows[-1] if rows else None
    if last is not None and last.epsilon is not None:
        lines.append(
            f"privacy=local_dp: of this run no site has more than epsilon={last.epsilon:.3g} (at "
            "privacy.delta)"
        )
    if last is not None and last.rank1 is None and last.cosine_distance is not None:
        lines.append(
            f"nobody could be searched for; in round {last.round}: {last.clusters} clusters, "
            f"{last.outliers} outliers, feature drift {last.cosine_distance:.3f}"
        )
    if last is not None and last.rank1_final is not None:
        lines.append(
            "after the final local fine-tuning, for which nothing is sent: mean Rank-1 "
            f"{_number(last.rank1)} -> {_number(last.rank1_final)}, "
            f"mAP {_number(last.map)} -> {_number(last.map_final)}"
        )
    return lines


def worse_line(rows: Sequence[Row]) -> str:
    """Name the clients that are found worse than with the weights it all began with; may be empty.

    Args:
        rows: of a run.
    """
    last = max((row.round for row in rows), default=0)
    first = {row.client: row.rank1 for row in rows if row.client and not row.round}
    worse = [
        f"{row.client} ({before:.3f} -> {row.rank1:.3f})"
        for row in rows
        if row.client and last and row.round == last and row.rank1 is not None
        if (before := first.get(row.client)) is not None and row.rank1 < before
    ]
    if not worse:
        return ""
    return (
        f"Rank-1 is lower than before any training at {', '.join(worse)}: docs/own-pictures.md "
        "says what helps"
    )


def largest_epsilon(rows: Iterable[Row]) -> float | None:
    """What the client with the most releases has given away so far; None where none is told."""
    return max((row.epsilon for row in rows if row.epsilon is not None), default=None)


def noised(settings: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """What privacy=local_dp gave away, and what it keeps; empty without it.

    Args:
        settings: of the run, by their dotted keys.
        rows: of the run.
    """
    if settings.get("privacy.kind") != "local_dp":
        return ""
    most = largest_epsilon(rows)
    told = "no epsilon" if most is None else f"no site's epsilon is above {most:.3g}"
    kept = "" if settings.get("privacy.scores") else "; accuracies are withheld"
    return f"noised its updates (privacy=local_dp): {told}{kept}"


def _privacy_lines(rows: Sequence[Row]) -> list[str]:
    """What noised updates (privacy=local_dp) leave unsaid."""
    if not any(map(is_withheld, rows)):
        return []
    lines = ["privacy=local_dp: figures made of the pictures are withheld"]
    if largest_epsilon(rows) is None:
        lines.append("no epsilon is told: the settings let something out around the noise")
    return lines


def recovery_trace(rows: Sequence[Row]) -> list[str]:
    """CRR's accuracy and decision beside Rank-1, a line a client and round."""
    lines = [
        "| client | round | CRR accuracy | became wrong, right, of | statistic | decision | pruned "
        "| Rank-1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted((r for r in rows if r.client and r.round), key=lambda r: (r.client, r.round)):
        lines.append(
            f"| {row.client} | {row.round} | {_number(row.accuracy)} | {_pairs(row)} "
            f"| {_number(row.crr_statistic)} | {row.crr} "
            f"| {row.pruned:.1%} | {_number(row.rank1)} |"
        )
    return lines


def _pairs(row: Row) -> str:
    if not row.pairs_compared:
        return "-"
    return f"{row.pairs_worse}, {row.pairs_better}, {row.pairs_compared}"


def write_report(folder: Path) -> None:
    """Write report.md from run.jsonl."""
    rows = read_rows(folder / run_files.ROWS)
    lines = [f"# {folder.name}", "", "Round 0 -> last round.", ""]
    lines += ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(line) + " |" for line in table(rows)]
    lines += [
        "",
        *closing_lines(rows),
        "",
        "## Cross-round recovery",
        "",
        *recovery_trace(rows),
        "",
        *_chain_lines(read_week_by_week(folder)),
    ]
    write_atomically(folder / run_files.REPORT, "\n".join(lines).encode())


def _chain_lines(chain: WeekByWeek) -> list[str]:
    """The section of a run that continues others; nothing where it does not."""
    if not chain.is_chain:
        return []
    return [
        "## Run after run",
        "",
        SAID,
        "",
        *(f"**Alarm:** {sentence}.\n" for sentence in chain.alarms()),
        "| " + " | ".join(CHAIN_HEADINGS) + " |",
        "|" + "---|" * len(CHAIN_HEADINGS),
        *("| " + " | ".join(cells) + " |" for cells in chain.cells),
        "",
        *([chain.remark, ""] if chain.remark else []),
    ]


def _change(first: Row | None, final: Row | None, key: str) -> str:
    began, ended = getattr(first, key, None), getattr(final, key, None)
    if began is None and ended is None:
        return "-"
    return f"{_number(began)} -> {_number(ended)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

"""A comparison as tables: cells of text, Markdown, CSV and plain values for JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedklpr_flwr.report.comparison import Comparison, Group
from fedklpr_flwr.report.mean_std import Paired, Spread
from fedklpr_flwr.report.run_figures import RunFigures
from fedklpr_flwr.system.atomic_file import write_atomically

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula in a spreadsheet."""


_BETWEEN = 3
"""Letters between two columns on a terminal."""


@dataclass(frozen=True)
class TextTable:
    """A title, headings, and lines of text; the first column is words, the others numbers."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def within(self, width: int) -> list["TextTable"]:
        """Fold the table into as many as are no wider than so many letters.

        Args:
            width: of the terminal. A column wider than that stays as it is.

        Returns:
            Tables with the same lines, the first column in each, the others in order.
        """
        sizes = [
            max(map(len, column)) + 2 for column in zip(self.headings, *self.lines, strict=True)
        ]
        parts: list[list[int]] = [[]]
        for number, size in enumerate(sizes[1:], 1):
            there = sizes[0] + 1 + sum(sizes[column] for column in parts[-1])
            if parts[-1] and there + size > width:
                parts.append([])
            parts[-1].append(number)
        return [
            TextTable(
                self.title if n == 0 else "",
                tuple(self.headings[column] for column in (0, *part)),
                tuple(tuple(line[column] for column in (0, *part)) for line in self.lines),
            )
            for n, part in enumerate(parts)
        ]

    def markdown(self) -> str:
        """A heading and a Markdown table."""
        rows = [self.headings, ("---",) * len(self.headings), *self.lines]
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in cells)])


def tables(comparison: Comparison, reference: Group) -> list[TextTable]:
    """All tables of a comparison."""
    found = [main_table(comparison), paired_table(comparison, reference)]
    found += [client_table(comparison, "rank1"), client_table(comparison, "map")]
    return [table for table in found if table.lines]


def main_table(comparison: Comparison) -> TextTable:
    """One line a method: accuracy, pruning, bytes, time."""
    final = any(group.spread("rank1_final") for group in comparison.groups)
    headings = ["method", "seeds", "Rank-1", "mAP"]
    headings += ["Rank-1 after the final round"] if final else []
    ideal = any(group.ideal_saving is not None for group in comparison.groups)
    headings += ["pruned", "MB up", "MB down", "MB dense", "less than dense", "by paper's count"]
    headings += [IDEAL] if ideal else []
    lines = []
    for group in comparison.groups:
        line = [group.label, _seeds(group)]
        line += [accuracy_text(group.spread("rank1")), accuracy_text(group.spread("map"))]
        line += [accuracy_text(group.spread("rank1_final"))] if final else []
        line += [_share(group.spread("pruned"))]
        bytes_of = [_number(group.spread(key)) for key in ("mb_up", "mb_down", "mb_dense")]
        bytes_of += [_share(group.spread(key)) for key in ("saved", "saved_paper")]
        line += ["-"] * len(bytes_of) if group.pooled else bytes_of
        line += [_percent(group.ideal_saving)] if ideal else []
        lines.append((*line, _number(group.spread("seconds"), 0)))
    title = "Last round, mean over clients; mean ± standard deviation over seeds"
    return TextTable(title, (*headings, "seconds"), tuple(lines))


def paired_table(comparison: Comparison, reference: Group) -> TextTable:
    """The reference against every other method, seed by seed."""
    lines = []
    for other in comparison.groups:
        rank1 = comparison.paired(reference, other, "rank1")
        if other is reference or rank1 is None:
            continue
        lines.append(
            (
                other.label,
                _common_seeds(reference, other),
                _points(rank1),
                _points(comparison.paired(reference, other, "map")),
                "no" if rank1.not_below else "yes",
                _less(comparison, reference, other, "mb"),
                _less(comparison, reference, other, "mb_paper"),
                _ideally_less(reference, other),
            )
        )
    title = f"{reference.label} minus the others, in points, seed by seed; mean ± standard error"
    headings = ("other method", "seeds", "Rank-1", "mAP", "below it", "bytes", "paper's bytes")
    if all(line[-1] == "-" for line in lines):
        return TextTable(title, headings, tuple(line[:-1] for line in lines))
    return TextTable(title, (*headings, IDEAL), tuple(lines))


def client_table(comparison: Comparison, figure: str) -> TextTable:
    """One line a method, one column a client."""
    clients = comparison.clients
    lines = [
        (group.label, *(accuracy_text(group.client_spread(client, figure)) for client in clients))
        for group in comparison.groups
        if group.clients
    ]
    word = {"rank1": "Rank-1", "map": "mAP"}[figure]
    return TextTable(f"{word} of each client, last round", ("method", *clients), tuple(lines))


def markdown(comparison: Comparison, reference: Group) -> str:
    """The whole comparison as one Markdown text."""
    parts = ["# Comparison", *(table.markdown() for table in tables(comparison, reference))]
    parts.insert(3, RULE)
    remarks = remarks_of(comparison)
    if remarks:
        parts.append("\n".join(["## To be known", "", *(f"- {remark}" for remark in remarks)]))
    return "\n\n".join(parts) + "\n"


IDEAL = "ideal schedule"
"""The heading of what the paper's count would save had no prune been held."""

RULE = (
    "below it: by more than max(1 point, one standard error of the paired differences). "
    "bytes: what was really sent, up and down, against the other method. ideal schedule: what the "
    "paper's count would save on the prunable weights in rounds 1 to R, had no prune been held."
)


def remarks_of(comparison: Comparison) -> list[str]:
    """The commits of the runs, notes, then runs that were left out."""
    left = [f"left out: {one.folder}: {one.why}" for one in comparison.left_out]
    return [commits_text(comparison), *comparison.notes, *left]


def commits_text(comparison: Comparison) -> str:
    """The commit that all runs were made at, or which were made at which."""
    found = comparison.commits
    if len(found) == 1:
        return f"commit of the runs: {next(iter(found))}"
    return "the commits differ: " + "; ".join(
        f"{commit} ({', '.join(labels)})" for commit, labels in found.items()
    )


def comparison_csv(comparison: Comparison) -> str:
    """A line a method; accuracies and shares are fractions, each figure as mean and deviation."""
    figures = RunFigures._fields
    head = ["label", "method", "experiment", "seeds"]
    head += [f"{name}_{part}" for name in figures for part in ("mean", "sd")]
    lines = []
    for group in comparison.groups:
        line: list[Any] = [group.label, group.method, group.runs[0].experiment, _seeds(group)]
        for name in figures:
            line += _mean_and_deviation(group.spread(name))
        lines.append([*line, group.ideal_saving, "; ".join(_commits(group))])
    head += ["saved_paper_ideal", "commits"]
    return _csv(head, lines)


def per_client_csv(comparison: Comparison) -> str:
    """A line a method and client, last round."""
    figures = ("rank1", "map", "pruned")
    head = ["label", "method", "client", "seeds"]
    head += [f"{name}_{part}" for name in figures for part in ("mean", "sd")]
    lines = []
    for group in comparison.groups:
        for client in group.clients:
            line: list[Any] = [group.label, group.method, client, _seeds(group)]
            for name in figures:
                line += _mean_and_deviation(group.client_spread(client, name))
            lines.append(line)
    return _csv(head, lines)


def plain(comparison: Comparison, reference: Group) -> dict[str, Any]:
    """The comparison as plain values for JSON."""

    def pair(other: Group, figure: str) -> dict[str, Any] | None:
        found = comparison.paired(reference, other, figure)
        return found and {**found._asdict(), "not_below": found.not_below}

    return {
        "methods": [_plain_group(group) for group in comparison.groups],
        "reference": reference.label,
        "paired": {
            other.label: {key: pair(other, key) for key in ("rank1", "map")}
            for other in comparison.groups
            if other is not reference
        },
        "notes": list(comparison.notes),
        "left_out": [{"folder": str(one.folder), "why": one.why} for one in comparison.left_out],
    }


def write_tables(comparison: Comparison, reference: Group, folder: Path) -> list[Path]:
    """Write comparison.md, comparison.csv and per_client.csv into an existing folder."""
    contents = {
        "comparison.md": markdown(comparison, reference),
        "comparison.csv": comparison_csv(comparison),
        "per_client.csv": per_client_csv(comparison),
    }
    for name, text in contents.items():
        write_atomically(folder / name, text.encode("utf-8", "replace"))
    return [folder / name for name in contents]


def _plain_group(group: Group) -> dict[str, Any]:
    def spread(found: Spread | None) -> dict[str, Any] | None:
        return found and found._asdict()

    return {
        "label": group.label,
        "method": group.method,
        "experiment": group.runs[0].experiment,
        "seeds": group.seeds,
        "folders": [str(run.folder) for run in group.runs],
        "commits": _commits(group),
        "saved_paper_ideal": group.ideal_saving,
        **{name: spread(group.spread(name)) for name in RunFigures._fields},
        "clients": {
            client: {name: spread(group.client_spread(client, name)) for name in ("rank1", "map")}
            for client in group.clients
        },
    }


def _seeds(group: Group) -> str:
    return " ".join(map(str, group.seeds))


def _common_seeds(ours: Group, theirs: Group) -> str:
    """The seeds that both have a Rank-1 of."""
    known = [
        {seed for seed, value in group.by_seed("rank1").items() if value is not None}
        for group in (ours, theirs)
    ]
    return " ".join(map(str, sorted(known[0] & known[1])))


def _commits(group: Group) -> list[str]:
    return list(dict.fromkeys(run.commit for run in group.runs))


def accuracy_text(spread: Spread | None) -> str:
    """A fraction with its deviation, where there are several seeds."""
    if spread is None:
        return "-"
    return f"{spread.mean:.3f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.3f}")


def _share(spread: Spread | None) -> str:
    return _percent(spread and spread.mean)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(spread: Spread | None, digits: int = 2) -> str:
    return "-" if spread is None else f"{spread.mean:.{digits}f}"


def _points(paired: Paired | None) -> str:
    if paired is None:
        return "-"
    error = "" if paired.error is None else f" ± {100 * paired.error:.1f}"
    return f"{100 * paired.mean:+.1f}{error}"


def _less(comparison: Comparison, ours: Group, theirs: Group, kind: str) -> str:
    """How many bytes less ours moved than theirs, over the seeds both have."""
    keys = ("mb_up", "mb_down") if kind == "mb" else (kind,)
    common = sorted(set(ours.seeds) & set(theirs.seeds))
    if not all(group.sends for group in (ours, theirs)):
        return "-"
    sums = [
        sum(group.by_seed(key)[seed] or 0.0 for key in keys for seed in common)
        for group in (ours, theirs)
    ]
    share = 1 - sums[0] / sums[1] if sums[1] else 0.0
    return f"{abs(share):.1%} {'less' if share >= 0 else 'more'}"


def _ideally_less(ours: Group, theirs: Group) -> str:
    """What ours would save against a dense method, had no prune been held."""
    dense = theirs.sends and theirs.runs[0].settings.get("method.pruning") == "none"
    return f"{ours.ideal_saving:.1%} less" if dense and ours.ideal_saving is not None else "-"


def _mean_and_deviation(spread: Spread | None) -> list[Any]:
    return [None, None] if spread is None else [spread.mean, spread.deviation]


def _plain_cell(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: names come from others' run folders."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _csv(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_plain_cell(cell) for cell in line] for line in (head, *lines))
    return text.getvalue()

"""Small charts in a column, a client a row: what CRR saw and did, and the clusters found."""

from collections.abc import Mapping, Sequence

from fedklpr_flwr.report.page.chart_frame import (
    CIRCLE,
    CROSS,
    DIAMOND,
    DOWN,
    LETTER,
    PLUS,
    SQUARE,
    WIDTH,
    Frame,
    axes,
    chart,
    line,
    mark,
    path,
    round_ticks,
    text,
)
from fedklpr_flwr.report.page.figure_words import fraction, percent, shortened
from fedklpr_flwr.report.page.markup import Markup, element
from fedklpr_flwr.runs.rows import Row

_NAME_LETTERS = 12

DECISIONS = {
    "pruned": (DOWN, "pruned", "pruned a step further"),
    "held_level": (
        CIRCLE,
        "held-level",
        "held: its accuracy of the round before was below crr.level, or it had none",
    ),
    "held_drop": (DIAMOND, "held-drop", "held: its accuracy fell by more than crr.drop allows"),
    "at_target": (SQUARE, "at-target", "at pruning.target: nothing more to prune"),
    "off": (CIRCLE, "off", "pruning was off in this round"),
    "idle": (PLUS, "idle", "idle: it found no cluster and trained nothing"),
    "missed": (CROSS, "missed", "not merged: failed, late or absent"),
}
"""What a client did with its mask: a mark's shape, its class, and what it means."""


def decision_of(row: Row) -> str:
    """What a client did in a round; an unknown word of another version counts as off."""
    if row.status != "merged":
        return "missed"
    if row.idle:
        return "idle"
    return row.crr if row.crr in DECISIONS else "off"


def decision_key(words: Sequence[str]) -> Markup:
    """The marks that a timeline uses, and what they mean."""
    items = [
        element(
            "li",
            element("svg", mark(shape, 8, 8, kind, size=4.2), viewBox="0 0 16 16", class_="sign"),
            said,
        )
        for word, (shape, kind, said) in DECISIONS.items()
        if word in words
    ]
    return element("ul", *items, class_="key")


def recovery_timeline(label: str, rows: Mapping[str, Sequence[Row]], level: float | None) -> Markup:
    """A row a client over the rounds: CRR's accuracy as a line with its decisions as marks.

    Args:
        label: what it shows.
        rows: each client's rows of the rounds from 1 on, ascending.
        level: the accuracy below which nobody prunes, drawn dotted; None = there is none.
    """
    every = [row.round for found in rows.values() for row in found]
    first, last = min(every), max(every)
    left = 12 + LETTER * min(_NAME_LETTERS, max(len(name) for name in rows))
    high = 46.0 if len(rows) <= 16 else 26.0
    top_value = timeline_top(rows)
    parts: list[Markup] = []
    bottom = 4.0
    for name, found in rows.items():
        top, bottom = bottom + 7, bottom + high
        frame = Frame(left, WIDTH - 46.0, top, bottom, first, max(last, first + 1), 0.0, top_value)
        parts += _timeline_row(frame, name, found, level)
    below = Frame(left, WIDTH - 46.0, 4, bottom, first, max(last, first + 1), 0, 1)
    parts += axes(below, round_ticks(first, last), (), x_label="round")
    return chart(label, bottom + 36, *parts)


def timeline_top(rows: Mapping[str, Sequence[Row]]) -> float:
    """Where a timeline's scale of accuracies and pruned shares ends: 0.2, 0.4, ... or 1."""
    shown = [max(row.accuracy or 0.0, row.pruned) for found in rows.values() for row in found]
    return max(0.2, -(-max(shown) // 0.2) * 0.2)


def _timeline_row(
    frame: Frame, name: str, rows: Sequence[Row], level: float | None
) -> list[Markup]:
    middle = (frame.top + frame.bottom) / 2
    parts = [
        line(frame.left, frame.bottom, frame.right, frame.bottom, "grid"),
        text(frame.left - 8, middle + 4, shortened(name, _NAME_LETTERS), "tick", "end"),
        text(WIDTH - 4, middle + 4, percent(rows[-1].pruned), "tick", "end"),
        _pruned_area(frame, rows),
    ]
    if level is not None:
        parts.append(line(frame.left, frame.y(level), frame.right, frame.y(level), "level"))
    known = [(row.round, row.accuracy) for row in rows if row.accuracy is not None]
    parts.append(path([(frame.x(x), frame.y(y)) for x, y in known], "line thin"))
    # Small enough for many rounds and clients: a mark that is left out could be the failure.
    apart = (frame.right - frame.left) / (frame.x_high - frame.x_low)
    size = min(3.6, max(1.5, 0.42 * apart), (frame.bottom - frame.top) / 6)
    return [*parts, *(_decision(frame, row, size) for row in rows)]


def _pruned_area(frame: Frame, rows: Sequence[Row]) -> Markup:
    """The pruned share as stairs, each step as wide as its round and cut at the frame."""
    points = [(frame.left, frame.bottom)]
    for row in rows:
        start, y = max(frame.left, frame.x(row.round - 0.5)), frame.y(row.pruned)
        points += [(start, points[-1][1]), (start, y)]
    end = min(frame.right, frame.x(rows[-1].round + 0.5))
    return path([*points, (end, points[-1][1]), (end, frame.bottom)], "pruned-area", closed=True)


def _decision(frame: Frame, row: Row, size: float) -> Markup:
    word = decision_of(row)
    shape, kind, meaning = DECISIONS[word]
    said = (
        f"round {row.round}: {meaning}; CRR's accuracy {fraction(row.accuracy)}, "
        f"pruned {percent(row.pruned)}"
    )
    if row.pairs_compared:
        said += f"; {pairs_in_words(row)}"
    if isinstance(row.failed, str):
        said += f"; {row.failed}"
    height = frame.bottom - 4 if row.accuracy is None else frame.y(row.accuracy)
    return mark(
        shape, frame.x(row.round), height, kind, said, size=0.6 * size if word == "off" else size
    )


def pairs_in_words(row: Row) -> str:
    """What a test on pairs looked at, and what it made of that."""
    found = (
        f"of {row.pairs_compared} pictures {row.pairs_worse} became wrong, {row.pairs_better} right"
    )
    if row.crr_statistic is None:
        return found
    return f"{found} (statistic {row.crr_statistic:.2f})"


def cluster_line(label: str, counts: Sequence[tuple[int, int]], persons: int | None) -> Markup:
    """A small line of the clusters found round by round, the true persons dotted.

    Args:
        label: what it shows.
        counts: (round, clusters), ascending.
        persons: who is really there; None = not known.
    """
    most = max([*(count for _, count in counts), persons or 0, 1])
    last = max(counts[-1][0], counts[0][0] + 1)
    frame = Frame(4, 136, 5, 31, counts[0][0], last, 0, most)
    points = [(frame.x(number), frame.y(count)) for number, count in counts]
    parts = [path(points, "line s1"), mark(CIRCLE, *points[-1], "s1", size=2.6)]
    if persons is not None:
        y = frame.y(persons)
        parts.insert(0, line(frame.left, y, frame.right, y, "level"))
    return chart(label, 36, *parts, width=140.0)

"""Charts of cells and bars: weights by client and round, seconds by phase, densities by layer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedklpr_flwr.report.layer_density import LayerDensity
from fedklpr_flwr.report.page.chart_frame import (
    LETTER,
    SERIES,
    WIDTH,
    Frame,
    axes,
    chart,
    line,
    round_ticks,
    text,
    tick_text,
    ticks,
    tip,
)
from fedklpr_flwr.report.page.figure_words import duration, percent, shortened
from fedklpr_flwr.report.page.markup import Markup, element

_NAME_LETTERS = 14
_DARK = 0.68
"""Below this share of the strongest colour dark letters are read better, in both schemes."""


def box(
    x: float, y: float, width: float, height: float, kind: str, said: str, opacity: float = 1.0
) -> Markup:
    """A rectangle that says what it is of."""
    return element(
        "rect",
        tip(said),
        x=x,
        y=y,
        width=max(width, 0.0),
        height=max(height, 0.0),
        class_=kind,
        fill_opacity=None if opacity == 1.0 else opacity,
    )


class Cell(NamedTuple):
    """A value of a heat map; None = there is none, and `said` says why."""

    value: float | None
    said: str


def heat_map(label: str, rows: Mapping[str, Mapping[int, Cell]], columns: Sequence[int]) -> Markup:
    """Rows of cells, the darker the larger; a cell without a value is struck out.

    Args:
        label: what it shows.
        rows: by name, cells by round.
        columns: the rounds, ascending.
    """
    left = 10 + LETTER * min(_NAME_LETTERS, max(len(name) for name in rows))
    wide = (WIDTH - left - 4) / len(columns)
    high = min(26.0, max(14.0, 420.0 / len(rows)))
    most = max((c.value or 0.0 for row in rows.values() for c in row.values()), default=0.0)
    parts = []
    for number, (name, cells) in enumerate(rows.items()):
        y = 4 + number * high
        said = shortened(name, _NAME_LETTERS)
        parts.append(text(left - 6, y + high / 2 + 4, said, "tick", "end"))
        for place, column in enumerate(columns):
            if column in cells:
                parts += _cell(left + place * wide, y, wide, high, cells[column], most)
    bottom = 4 + high * len(rows)
    frame = Frame(left, WIDTH - 4, 4, bottom, columns[0] - 0.5, columns[-1] + 0.5, 0, 1)
    shown = round_ticks(columns[0], columns[-1])
    parts += axes(frame, shown, (), x_label="round")
    return chart(label, bottom + 36, *parts)


def _cell(x: float, y: float, wide: float, high: float, cell: Cell, most: float) -> list[Markup]:
    if cell.value is None:
        struck = line(x + 2, y + high - 3, x + wide - 3, y + 2, "struck")
        return [box(x, y, wide - 1.5, high - 1.5, "empty", cell.said), struck]
    share = cell.value / most if most else 0.0
    shade = 0.06 + 0.86 * share
    parts = [box(x, y, wide - 1.5, high - 1.5, "heat", cell.said, shade)]
    if wide >= 23 and high >= 14:
        kind = "on-dark" if shade > _DARK else "on-light"
        written = f"{cell.value:.2f}".replace("0.", ".", 1)
        parts.append(text(x + wide / 2 - 0.75, y + high / 2 + 3.3, written, kind, "middle"))
    return parts


def stacked_bars(
    label: str, bars: Mapping[int, Mapping[str, float]], phases: Sequence[str]
) -> Markup:
    """A bar a round, its seconds stacked by phase.

    Args:
        label: what it shows.
        bars: seconds by phase, by round.
        phases: the order from below; number n has colour n.
    """
    height, rounds = 220.0, sorted(bars)
    y_ticks = ticks(0.0, max(sum(bar.values()) for bar in bars.values()))
    frame = Frame(
        *(44.0, WIDTH - 6.0, 26.0, height - 38.0),
        *(rounds[0] - 0.5, rounds[-1] + 0.5, 0.0, y_ticks[-1]),
    )
    wide = min(34.0, 0.78 * (frame.right - frame.left) / (rounds[-1] - rounds[0] + 1))
    shown = round_ticks(rounds[0], rounds[-1])
    parts = axes(frame, shown, y_ticks, x_label="round", y_label="seconds")
    for number, bar in sorted(bars.items()):
        below = 0.0
        for place, phase in enumerate(phases):
            seconds = bar.get(phase, 0.0)
            if seconds > 0:
                y = frame.y(below + seconds)
                parts.append(
                    box(
                        frame.x(number) - wide / 2,
                        y,
                        wide,
                        frame.y(below) - y,
                        f"bar s{place % SERIES}",
                        f"round {number}, {phase}: {duration(seconds)}",
                    )
                )
                below += seconds
    return chart(label, height, *parts)


def density_bars(label: str, layers: Sequence[LayerDensity]) -> Markup:
    """A bar a layer: what a client keeps of it, the spread over clients, and what anybody keeps."""
    names = [shortened(one.short_name, 24) for one in layers]
    left, high = 10 + LETTER * max(map(len, names)), 17.0
    bottom = 22 + high * len(layers)
    frame = Frame(left, WIDTH - 46.0, 22.0, bottom, 0.0, 1.0, 0, 1)
    parts = []
    for value in (0.0, 0.5, 1.0):
        parts.append(line(frame.x(value), 18, frame.x(value), bottom, "grid"))
        parts.append(text(frame.x(value), 12, tick_text(100 * value) + "%", "tick", "middle"))
    for number, (name, one) in enumerate(zip(names, layers, strict=True)):
        y = 22 + number * high
        parts += _density_bar(frame, y, high, name, one)
    return chart(label, bottom + 6, *parts)


def _density_bar(frame: Frame, y: float, high: float, name: str, one: LayerDensity) -> list[Markup]:
    middle, left = y + high / 2, frame.x(0.0)
    said = (
        f"{one.name}: {one.numbers:,} weights; a client keeps {percent(one.mean)} on average "
        f"({percent(one.least)} to {percent(one.most)}), at least one keeps {percent(one.held)}"
    )
    return [
        text(left - 6, middle + 4, name, "tick", "end"),
        box(left, y + 2, frame.x(one.held) - left, high - 4, "held", said),
        box(left, y + 4, frame.x(one.mean) - left, high - 8, "bar s1", said),
        line(frame.x(one.least), middle, frame.x(one.most), middle, "whisker"),
        line(frame.x(one.least), middle - 3, frame.x(one.least), middle + 3, "whisker"),
        line(frame.x(one.most), middle - 3, frame.x(one.most), middle + 3, "whisker"),
        text(WIDTH - 4, middle + 4, percent(one.mean), "tick", "end"),
    ]

"""Lines over rounds or bytes, each named at its end."""

from collections.abc import Sequence
from typing import NamedTuple

from fedklpr_flwr.report.page.chart_frame import (
    BOLD_LETTER,
    SERIES,
    WIDTH,
    Frame,
    axes,
    chart,
    line,
    mark,
    path,
    text,
    tick_text,
    ticks,
)
from fedklpr_flwr.report.page.figure_words import shortened
from fedklpr_flwr.report.page.markup import Markup, element, joined

_HEIGHT, _LABEL_HEIGHT, _LONGEST_LABEL = 268.0, 14.0, 20
_MOST_MARKS = 26


class Line(NamedTuple):
    """One line.

    Attributes:
        name: what stands at its end; empty = nothing does.
        points: (x, y), ascending in x.
        style: 0 to 7 = a colour and a mark; -1 = one of many, faint; -2 = the mean, strong.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    style: int


MANY, MEAN = -1, -2


def styled(named: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> list[Line]:
    """Lines of a few names in colours; of more names faint, with the best and the worst named."""
    lines = [(name, tuple(points)) for name, points in named if points]
    if len(lines) <= SERIES:
        return [Line(name, points, number) for number, (name, points) in enumerate(lines)]
    ordered = sorted(lines, key=lambda item: item[1][-1][1])
    shown = {ordered[-1][0]: 1, ordered[0][0]: 0}
    faint = [Line("", points, MANY) for name, points in lines if name not in shown]
    return [*faint, *(Line(name, points, shown[name]) for name, points in lines if name in shown)]


def line_chart(
    label: str, lines: Sequence[Line], *, x_label: str, y_label: str, whole: bool = False
) -> Markup:
    """A chart of lines from zero upwards.

    Args:
        label: what it shows, for who does not see it.
        lines: at least one, with points.
        x_label: what is told below.
        y_label: what is told at the top.
        whole: x counts rounds.
    """
    xs = [x for one in lines for x, _ in one.points]
    y_ticks = ticks(0.0, max(y for one in lines for _, y in one.points) or 1.0)
    x_low, x_high = (min(xs), max(xs)) if whole else (0.0, max(xs))
    shown = [value for value in ticks(x_low, x_high, 6, whole=whole) if x_low <= value <= x_high]
    letters = max(len(_label(one)) for one in lines)
    frame = Frame(
        *(38.0, WIDTH - 18.0 - BOLD_LETTER * letters, 26.0, _HEIGHT - 38.0),
        *(x_low, x_high, 0.0, y_ticks[-1]),
    )
    return chart(
        label,
        _HEIGHT,
        *axes(frame, shown, y_ticks, x_label=x_label, y_label=y_label),
        *(_drawn(frame, one, x_label) for one in lines),
        *_labels(frame, [one for one in lines if one.name]),
    )


def _label(one: Line) -> str:
    """A line's name and last value, as they stand at its end."""
    if not one.name:
        return ""
    return f"{shortened(one.name, _LONGEST_LABEL)} {_number(one.points[-1][1])}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 and value % 1 else tick_text(round(value, 1))


def _kind(one: Line) -> str:
    return {MANY: "many", MEAN: "mean"}.get(one.style, f"s{one.style % SERIES}")


def _drawn(frame: Frame, one: Line, x_label: str) -> Markup:
    """A line with its marks; a line of many has none, and a mean needs none."""
    points = [(frame.x(x), frame.y(y)) for x, y in one.points]
    drawn = path(points, f"line {_kind(one)}")
    if one.style < 0:
        return element("g", drawn)
    step = -(-len(points) // _MOST_MARKS)
    marks = [
        mark(
            one.style,
            *points[n],
            f"s{one.style % SERIES}",
            f"{one.name}: {_number(y)} at {_number(x)} ({x_label})",
        )
        for n, (x, y) in enumerate(one.points)
        if n % step == 0 or n == len(points) - 1
    ]
    return element("g", drawn, *marks)


def _labels(frame: Frame, lines: Sequence[Line]) -> list[Markup]:
    """Names at the right, pushed apart, each with a thin way to where its line ends."""
    wished = sorted(lines, key=lambda one: frame.y(one.points[-1][1]))
    heights = spread([frame.y(one.points[-1][1]) for one in wished], frame.top, frame.bottom)
    parts = []
    for one, y in zip(wished, heights, strict=True):
        x_end, y_end = frame.x(one.points[-1][0]), frame.y(one.points[-1][1])
        left = frame.right + 16
        way = joined(
            [
                line(x_end + 5, y_end, max(x_end + 5, frame.right + 4), y_end, "leader"),
                line(max(x_end + 5, frame.right + 4), y_end, left - 3, y, "leader"),
            ]
        )
        parts += [way, text(left, y + 4, _label(one), f"name {_kind(one)}")]
    return parts


def spread(wished: Sequence[float], low: float, high: float) -> list[float]:
    """Heights near the wished ones, ascending, none nearer to the next than a line of text.

    Args:
        wished: ascending.
        low: the least that is allowed.
        high: the most; where there is too little room, this is passed and never the distance.
    """
    found: list[float] = []
    for y in wished:
        found.append(max(y, found[-1] + _LABEL_HEIGHT if found else low))
    limit = high
    for n in reversed(range(len(found))):
        found[n] = min(found[n], limit)
        limit = found[n] - _LABEL_HEIGHT
    if found and found[0] < low:
        found = [y + low - found[0] for y in found]
    return found

"""What all charts stand in: scales, axes, marks, and the SVG around them.

A chart is 440 units wide, so that its letters stay readable where a phone shows it at 340 pixels.
Colours come from the page's style sheet by class: s0 to s7 for series, told apart by marks as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedklpr_flwr.report.page.markup import Child, Markup, element

WIDTH = 440.0
SERIES = 8
"""So many series have a colour and a mark of their own."""
LETTER, BOLD_LETTER = 7.4, 7.9
"""Width of a letter of a chart's text, roughly, on a phone in a wide typeface."""


@dataclass(frozen=True)
class Frame:
    """A box of the chart and the values at its edges; y grows upwards."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Where a value lies from left to right."""
        return self.left + (self.right - self.left) * _place(value, self.x_low, self.x_high)

    def y(self, value: float) -> float:
        """Where a value lies from top to bottom."""
        return self.bottom - (self.bottom - self.top) * _place(value, self.y_low, self.y_high)


def _place(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `count` of them."""
    span = max(high - low, 1.0 if whole else 1e-9)
    rough = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    step = max(1.0, step) if whole else step
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def chart(label: str, height: float, *children: Child, width: float = WIDTH) -> Markup:
    """An SVG picture that a screen reader calls by its label."""
    return element(
        "svg", *children, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label
    )


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> Markup:
    """Words in a chart; `kind` names classes of the style sheet."""
    return element("text", said, x=x, y=y, class_=kind or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def tip(said: str) -> Markup:
    """What a mouse over the mark is told."""
    return element("title", said)


def path(points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> Markup:
    """A line through points in the chart's units."""
    steps = " ".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(points))
    return element("path", d=steps + (" Z" if closed else ""), class_=kind)


_MARKS = (
    "M{r} 0A{r} {r} 0 1 1 -{r} 0A{r} {r} 0 1 1 {r} 0Z",  # circle
    "M-{s} -{s}H{s}V{s}H-{s}Z",  # square
    "M0 -{l}L{l} 0L0 {l}L-{l} 0Z",  # diamond
    "M0 -{l}L{l} {s}H-{l}Z",  # triangle
    "M0 {l}L{l} -{s}H-{l}Z",  # triangle that points down
    "M-{l} 0H{l}M0 -{l}V{l}",  # plus
    "M-{s} -{s}L{s} {s}M-{s} {s}L{s} -{s}",  # cross
    "M-{s} -{l}H{s}L{l} 0L{s} {l}H-{s}L-{l} 0Z",  # hexagon
)
CIRCLE, SQUARE, DIAMOND, DOWN, PLUS, CROSS = 0, 1, 2, 4, 5, 6


def mark(shape: int, x: float, y: float, kind: str, said: str = "", size: float = 3.4) -> Markup:
    """A small sign, another shape for each of the eight numbers."""
    sizes = {"r": f"{size:g}", "s": f"{0.86 * size:.2f}", "l": f"{1.25 * size:.2f}"}
    return element(
        "path",
        tip(said) if said else None,
        d=_MARKS[shape % len(_MARKS)].format(**sizes),
        transform=f"translate({x:.1f} {y:.1f})",
        class_=f"mark {kind}",
    )


def axes(
    frame: Frame,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    *,
    x_label: str,
    y_label: str = "",
) -> list[Markup]:
    """Level lines with their values, the values below, and what both are of."""
    parts: list[Markup] = []
    for value in y_ticks:
        y = frame.y(value)
        parts.append(line(frame.left, y, frame.right, y, "grid"))
        parts.append(text(frame.left - 6, y + 4, tick_text(value), "tick", "end"))
    for value in x_ticks:
        parts.append(text(frame.x(value), frame.bottom + 16, tick_text(value), "tick", "middle"))
    middle = (frame.left + frame.right) / 2
    parts.append(text(middle, frame.bottom + 31, x_label, "axis", "middle"))
    if y_label:
        parts.append(text(frame.left - 30, frame.top - 12, y_label, "axis"))
    return parts


def round_ticks(first: int, last: int) -> list[float]:
    """Rounds that are named below a chart: whole, and within it."""
    return [value for value in ticks(first, last, 7, whole=True) if first <= value <= last]


def tick_text(value: float) -> str:
    """A value at an axis: 0.25, 40, 1200."""
    return f"{value:.10g}"

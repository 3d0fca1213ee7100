"""A benchmark's row: a figure, the anchor it is held against, and the bound that it must keep."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

Row = dict[str, Any]
"""{name, value, unit, anchor, ratio, must, ok}; ratio = value / anchor."""

Bound = Callable[[float, float, float], bool]
"""Whether (value, ratio, must) holds."""


def ratio_at_most(value: float, ratio: float, must: float) -> bool:
    """The bound of costs: ratio <= must."""
    return ratio <= must


def ratio_at_least(value: float, ratio: float, must: float) -> bool:
    """The bound of speed-ups: ratio >= must."""
    return ratio >= must


def value_at_most(value: float, ratio: float, must: float) -> bool:
    """The bound of seconds and megabytes: value <= must."""
    return value <= must


def value_at_least(value: float, ratio: float, must: float) -> bool:
    """The bound of rates: value >= must."""
    return value >= must


def make_row(
    name: str,
    value: float,
    unit: str,
    anchor: float,
    must: float | None = None,
    bound: Bound = ratio_at_most,
    *,
    equal: bool = True,
) -> Row:
    """Make a row.

    Args:
        name: as others call it.
        value: what was measured of this project.
        unit: of value and anchor.
        anchor: what was measured beside it in the same run, not 0.
        must: the bound's number, or None for a row that only tells.
        bound: what `must` bounds.
        equal: whether the result was that of the anchor; a fast wrong answer is not `ok`.

    Returns:
        {name, value, unit, anchor, ratio, must, ok}; whole numbers as they are, others to six
        digits.
    """
    ratio = value / anchor
    return {
        "name": name,
        "value": _six_digits(value),
        "unit": unit,
        "anchor": _six_digits(anchor),
        "ratio": _six_digits(ratio),
        "must": must,
        "ok": equal and (must is None or bound(value, ratio, must)),
    }


class Kept(Generic[Result]):
    """Work that keeps what it gave last, so that the result checked is that of the run timed."""

    result: Result

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work

    def __call__(self) -> None:
        """Do it; the result before is let go first, so that no two are held."""
        if hasattr(self, "result"):
            del self.result
        self.result = self._work()


def median_seconds(repeats: int, *works: Callable[[], object], warm: bool = True) -> list[float]:
    """Time several pieces of work in turn, so that a busy machine is busy for all of them.

    Args:
        repeats: timings taken of each, >= 1.
        works: what is timed.
        warm: let each run once beforehand, untimed.

    Returns:
        The median wall seconds of each.
    """
    if warm:
        for work in works:
            work()
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, taken in zip(works, seconds, strict=True):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def table_lines(rows: Sequence[Row]) -> list[str]:
    """A table of rows, a line each under a heading."""
    lines = [f"{'':38}{'value':>12} {'unit':12}{'anchor':>12}{'ratio':>10}{'must':>8}  ok"]
    for row in rows:
        must = "" if row["must"] is None else f"{row['must']:g}"
        verdict = "" if row["must"] is None else ("yes" if row["ok"] else "NO")
        lines.append(
            f"{row['name']:38}{row['value']:>12.6g} {row['unit']:12}{row['anchor']:>12.6g}"
            f"{row['ratio']:>10.4g}{must:>8}  {verdict}"
        )
    return lines


def write_rows(rows: Sequence[Row], file: Path) -> None:
    """Write rows as a JSON list; the folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(rows), indent=2) + "\n", encoding="utf-8")


def _six_digits(number: float) -> float:
    return number if isinstance(number, int) else float(f"{number:.6g}")

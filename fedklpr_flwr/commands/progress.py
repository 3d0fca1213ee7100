"""Bars with the time that is left, on a terminal; where there is none, plain lines do."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

_SPAN = 3600.0
"""Seconds that the estimate of the time left looks back: a client may take that long."""


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on the terminal that grows by one whenever the given function is called.

    It stands below what is printed meanwhile, and nothing is left of it. Where standard output is
    no terminal there is no bar, and what is printed stays as it is.

    Args:
        what: is being done.
        total: how many steps there will be.
    """
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=_SPAN,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def tracked(what: str, things: Sequence[T]) -> Iterable[T]:
    """Things one after the other, with a bar on the terminal while they are dealt with.

    Args:
        what: is being done with them.
        things: at least none.
    """
    with steps(what, len(things)) as done:
        for thing in things:
            yield thing
            done()

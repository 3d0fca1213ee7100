"""Bars with the time that is left, on a terminal; where there is none, plain lines."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
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

LINE_SECONDS = 10.0
"""How often a line tells of progress where there is no terminal."""

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
)
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
    bar = Progress(
        *_COLUMNS,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=_SPAN,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress on stderr: a bar on a terminal, elsewhere a plain line every ten seconds.

    Args:
        what: is being done.

    Yields:
        A function to be told how many steps are done, and how many there are.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_now_and_then(what)
        return
    with Progress(*_COLUMNS, console=console, transient=True, speed_estimate_period=_SPAN) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or 1)


def _line_now_and_then(what: str) -> Callable[[int, int], None]:
    began = last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= LINE_SECONDS:
            left = (now - began) / done * (total - done)
            print(
                f"{what}: {done} of {total}, about {left:.0f} s left", file=sys.stderr, flush=True
            )
            last = now

    return told


def tracked(what: str, things: Iterable[T], count: int) -> Iterable[T]:
    """Things one after the other, with `counting` progress while they are dealt with.

    Args:
        what: is being done with them.
        things: at least none.
        count: how many there are.
    """
    with counting(what) as told:
        told(0, count)
        for done, thing in enumerate(things, 1):
            yield thing
            told(done, count)

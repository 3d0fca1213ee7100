"""Ask Flower for replies, so that one that never comes whole holds up no other.

A reply is announced before its bytes are sent. Where its box goes in between, Flower's grid waits
for the rest, for three minutes, and hands out nothing meanwhile. How long is waited at all, and
what is said of who was late: reply_deadline.py.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from fedklpr_flwr.flower_internals import is_network_grid

Pull = Callable[[Sequence[str]], list[Message]]
"""Ids of messages that wait -> the replies that have come since the last call."""

_AT_ONCE = 16
_STUCK_SECONDS = 5.0


def polling_of(grid: Grid) -> Pull:
    """How to ask a grid: each reply apart where a network lies between, else all at once."""
    if is_network_grid(grid):
        return PullApart(grid)
    return lambda ids: list(grid.pull_messages(list(ids)))


class PullApart:
    """Asks for each reply in a thread of its own.

    Args:
        grid: Flower's grid; its `pull_messages` may be called from any thread.
        pause_seconds: between two questions for one reply.
    """

    def __init__(self, grid: Grid, *, pause_seconds: float = 1.0) -> None:
        self._grid, self._pause = grid, pause_seconds
        self._due: dict[str, float] = {}
        self._asking: dict[str, float] = {}
        self._came: queue.SimpleQueue[tuple[str, list[Message] | Exception]] = queue.SimpleQueue()

    def __call__(self, ids: Sequence[str]) -> list[Message]:
        """Start asking for whoever is due, and hand out what has come; waits for nothing.

        Raises:
            Exception: what the grid raised.
        """
        now = time.monotonic()
        for name in ids:
            moving = sum(now - since < _STUCK_SECONDS for since in self._asking.values())
            if moving >= _AT_ONCE:
                break
            if name not in self._asking and now >= self._due.get(name, 0.0):
                self._asking[name] = now
                threading.Thread(target=self._ask, args=(name,), daemon=True).start()
        replies: list[Message] = []
        while not self._came.empty():
            name, came = self._came.get()
            del self._asking[name]
            self._due[name] = time.monotonic() + self._pause
            if isinstance(came, Exception):
                raise came
            replies += came
        return replies

    def _ask(self, name: str) -> None:
        try:
            self._came.put((name, list(self._grid.pull_messages([name]))))
        except Exception as error:
            self._came.put((name, error))

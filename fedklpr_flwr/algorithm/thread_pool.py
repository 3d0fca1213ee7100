"""Threads that share a piece of work, each with room of its own."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

Room = TypeVar("Room")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(Generic[Room]):
    """So many threads; with one, the work is done by the caller.

    Args:
        threads: >= 1.
        make_room: makes what a thread needs for itself.
    """

    def __init__(self, threads: int, make_room: Callable[[], Room]) -> None:
        self.threads = max(threads, 1)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        self._rooms: SimpleQueue[Room] = SimpleQueue()
        for _ in range(self.threads):
            self._rooms.put(make_room())

    def __enter__(self) -> "Crew[Room]":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Room for the calling thread."""
        taken = self._rooms.get()
        try:
            yield taken
        finally:
            self._rooms.put(taken)

    @contextmanager
    def beside(self, work: Callable[[], None]) -> Iterator[None]:
        """Do a piece of work in a thread of its own beside the block, or with one thread before it.

        What it needs of rooms must be its own. Its fault comes out when the block ends.
        """
        if self._pool is None:
            work()
            yield
            return
        with ThreadPoolExecutor(1) as other:
            done = other.submit(work)
            yield
            done.result()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """What `work` gives of each item, in their order; its first fault comes out."""
        if self._pool is None:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

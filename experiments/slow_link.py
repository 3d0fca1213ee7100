"""A slow line on loopback: a TCP proxy that lets so many bytes a second pass, and counts them."""

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass

_CHUNK = 1 << 15
_ON_THE_WAY = 1 << 10
"""Pieces on their way at once: more than any delay here needs."""
_PAUSE = 1.0
"""Seconds without a byte that part two transfers."""


@dataclass(frozen=True)
class Burst:
    """Bytes that went one way without a pause.

    Attributes:
        start: of the first byte, in seconds of a monotonic clock.
        seconds: until the last byte.
        size: bytes.
    """

    start: float
    seconds: float
    size: int


class _Lane:
    """One direction of the line, shared by all its connections; bytes leave one after another.

    Args:
        rate: bytes a second; None = no limit.
        delay: seconds that each byte is on its way.
    """

    def __init__(self, rate: float | None, delay: float = 0.0) -> None:
        self.rate, self.total, self._delay = rate, 0, delay
        self.passed: list[tuple[float, float, int]] = []
        self._free = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes until one side closes."""
        on_the_way: asyncio.Queue[tuple[float, float, bytes]] = asyncio.Queue(_ON_THE_WAY)
        arriving = asyncio.create_task(self._deliver(on_the_way, writer))
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                came = time.monotonic()
                await self._wait_for_room(len(chunk))
                await on_the_way.put((time.monotonic() + self._delay, came, chunk))
        await on_the_way.put((0.0, 0.0, b""))
        await arriving

    async def _deliver(
        self,
        on_the_way: "asyncio.Queue[tuple[float, float, bytes]]",
        writer: asyncio.StreamWriter,
    ) -> None:
        """Hand over each piece when it is due; an empty one is the end.

        What comes when the other side has gone is thrown away.
        """
        while (sent := await on_the_way.get())[2]:
            due, came, chunk = sent
            if writer.is_closing():
                continue
            with contextlib.suppress(ConnectionError):
                await asyncio.sleep(due - time.monotonic())
                writer.write(chunk)
                await writer.drain()
                self.total += len(chunk)
                self.passed.append((came, time.monotonic(), len(chunk)))
        writer.close()

    def bursts(self) -> list[Burst]:
        """What has passed so far, parted by pauses."""
        found: list[Burst] = []
        for came, gone, size in sorted(self.passed):
            last = found[-1] if found else None
            if last and came - (last.start + last.seconds) < _PAUSE:
                end = max(gone, last.start + last.seconds)
                found[-1] = Burst(last.start, end - last.start, last.size + size)
            else:
                found.append(Burst(came, gone - came, size))
        return found

    async def _wait_for_room(self, size: int) -> None:
        if self.rate is not None:
            now = asyncio.get_running_loop().time()
            self._free = max(now, self._free) + size / self.rate
            await asyncio.sleep(self._free - now)


class SlowLink:
    """A proxy on a free port of loopback, in a thread of its own; a context manager.

    Args:
        target: the port of loopback that it leads to.
        up: bytes a second from whoever connects to the target; None = no limit.
        down: bytes a second back.
        delay: seconds that a byte is on its way, either way: half of a round trip.
    """

    def __init__(
        self,
        target: int,
        *,
        up: float | None = None,
        down: float | None = None,
        delay: float = 0.0,
    ) -> None:
        self.port, self._is_down = 0, False
        self._target, self._up, self._down = target, _Lane(up, delay), _Lane(down, delay)
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def sent_up(self) -> int:
        """Bytes that have reached the target so far."""
        return self._up.total

    @property
    def sent_down(self) -> int:
        """Bytes that have come back so far."""
        return self._down.total

    @property
    def bursts_up(self) -> list[Burst]:
        """What went to the target, parted by pauses of a second."""
        return self._up.bursts()

    @property
    def bursts_down(self) -> list[Burst]:
        """What came back, parted by pauses of a second."""
        return self._down.bursts()

    def cut(self) -> None:
        """Break every connection at once; what is in the buffers of either side is lost."""
        asyncio.run_coroutine_threadsafe(self._abort(), self._loop).result()

    def go_down(self) -> None:
        """Break every connection, and refuse each new one until `come_up`."""
        self._is_down = True
        self.cut()

    def come_up(self) -> None:
        """Let connections pass again."""
        self._is_down = False

    def __enter__(self) -> "SlowLink":
        """Listen."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _join(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self._is_down:
            back.close()
            return
        try:
            there, on = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            back.close()
            return
        self._writers |= {on, back}
        with contextlib.suppress(asyncio.CancelledError):  # the line is taken down
            await asyncio.gather(self._up.carry(here, on), self._down.carry(there, back))
        self._writers -= {on, back}

    async def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

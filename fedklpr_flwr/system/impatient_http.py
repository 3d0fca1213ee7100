"""Uvicorn's HTTP for ports that strangers reach: it keeps little of what is no request yet.

What a request's head takes is taken before any application, and so any middleware, sees it. The
SuperLink (deploy/guarded_superlink.py) and `search --serve` are served by it; `report --serve` has
limits of its own (report/serving.py).
"""

import asyncio
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HEAD = 16 * 2**10
"""Bytes of a request's head, of one chunk's, or of what follows the last chunk; up to twice as many
are read where they come at once."""

MOST_CONNECTIONS = 256
"""Of one address at once; this machine's own are not counted."""

HEADER_SECONDS = 15.0
"""For a request's head."""


class ImpatientProtocol(H11Protocol):
    """Uvicorn's protocol, with bounds on how long and how large a request's head is.

    It is the one of h11, which keeps no more of an unfinished head than it is told to; httptools
    would keep all that comes.
    """

    _of_address: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait; an address with too many connections has no further one."""
        super().connection_made(transport)
        self._address = str(self.client[0]) if self.client else ""
        self._waiting: asyncio.TimerHandle | None = None
        self._of_address[self._address] += 1
        own = self.server is not None and self._address == self.server[0]
        if self._of_address[self._address] > MOST_CONNECTIONS and not own:
            self.transport.abort()
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and wait on where they end within a request's head."""
        # In pieces: h11 looks at the size of a head only where it did not come whole.
        for start in range(0, len(data), MOST_HEAD):
            if self.transport.is_closing():
                break
            super().data_received(data[start : start + MOST_HEAD])
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and an address that has no other."""
        self._of_address[self._address] -= 1
        if not self._of_address[self._address]:
            del self._of_address[self._address]
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if not self._is_between():
            if self._waiting is not None:
                self._waiting.cancel()
            self._waiting = None
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._waiting = None
        if self._is_between():
            self.transport.close()

    def _is_between(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)


IMPATIENT: dict[str, Any] = {
    "http": ImpatientProtocol,
    # A connection that becomes a WebSocket leaves its protocol, which would count it for ever.
    "ws": "none",
    "h11_max_incomplete_event_size": MOST_HEAD,
}
"""What uvicorn is started with."""

"""What a stranger may take of the SuperLink's port: bytes, time and open requests.

Flower reads a request whole, into memory, before it looks at its signature. So whoever reaches the
port could fill the memory, or keep it waiting, without any key. What comes before a request's head
is whole, no middleware sees: system.impatient_http limits that.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.loops.auto import auto_loop_factory

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FOR_BOXES = "/v1/fleet/"
"""The paths that other machines may ask for."""

MOST_BYTES = 8 * 2**20
"""Of one request's body: Flower cuts what it sends into pieces of 5 MiB."""

MOST_TOGETHER = 64 * MOST_BYTES
"""Of all bodies that are being read at once: half a GiB. One address has at most as much of it as
it leaves free, so that there is room for the others however much it sends."""

MOST_OPEN = 64
"""Requests of one address at once; a SuperNode sends two pieces at a time, and many may have one
address in common, behind a router."""

IDLE_SECONDS, BODY_SECONDS = 30.0, 600.0
"""Between two parts of a body; for all of a body."""

HANDSHAKE_SECONDS = 8.0
"""For TLS, before which a connection is nobody's yet and no limit above sees it; asyncio waits
60 s."""


class RequestLimits:
    """Middleware: a body is read for Flower, and what is too long, too slow or too many refused."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._open: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body, or refuse it with 408, 413 or 503."""
        if scope["type"] != "http" or not str(scope["path"]).startswith(FOR_BOXES):
            await self._app(scope, receive, send)
            return
        address = str((scope.get("client") or ("",))[0])
        if self._open[address] >= MOST_OPEN:
            await _refuse(send, 503, f"{MOST_OPEN} requests of this address are open already")
            return
        self._open[address] += 1
        try:
            await self._pass_on(address, scope, receive, send)
        finally:
            self._open[address] -= 1
            self._open += Counter()  # forgets addresses that have none

    async def _pass_on(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []
        try:
            fault = await self._read(address, scope, receive, parts)
            if fault is not None:
                await _refuse(send, *fault)
                return
            whole = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

            async def read_before() -> Scope:
                return whole.pop() if whole else await receive()

            await self._app(scope, read_before, send)
        finally:
            self._held[address] -= sum(map(len, parts))
            self._held += Counter()

    async def _read(
        self, address: str, scope: Scope, receive: Receive, parts: list[bytes]
    ) -> tuple[int, str] | None:
        """Read a body into parts; why it is refused, if it is."""
        long = 413, f"a request to the Fleet interface has at most {MOST_BYTES} bytes"
        if _told_length(scope) > MOST_BYTES:
            return long
        size, end = 0, asyncio.get_running_loop().time() + BODY_SECONDS
        while True:
            left = min(IDLE_SECONDS, end - asyncio.get_running_loop().time())
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.0))
            except TimeoutError:
                return 408, "the request's body did not come in time"
            if message["type"] != "http.request":
                return 408, "the connection was closed before the body was whole"
            part = bytes(message.get("body", b""))
            size += len(part)
            if size > MOST_BYTES:
                return long
            if self._held.total() + self._held[address] + 2 * len(part) > MOST_TOGETHER:
                return 503, "too many requests are being read"
            self._held[address] += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                return None


def impatient_loop() -> asyncio.AbstractEventLoop:
    """Make uvicorn's event loop, whose servers wait no longer for TLS than HANDSHAKE_SECONDS."""
    loop = auto_loop_factory()()
    create: Callable[..., Any] = loop.create_server

    async def create_server(*given: Any, **how: Any) -> Any:
        waits = {"ssl_handshake_timeout": HANDSHAKE_SECONDS} if how.get("ssl") else {}
        return await create(*given, **how, **waits)

    loop.create_server = create_server  # type: ignore[method-assign, assignment]
    return loop


def _told_length(scope: Scope) -> int:
    """The length that a request's head tells; 0 where it tells none."""
    told = dict(scope.get("headers") or ()).get(b"content-length", b"0")
    return int(told) if told.isdigit() else 0


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"detail": why}).encode()
    # Closed afterwards: what of the body has not come yet would be read for nothing.
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

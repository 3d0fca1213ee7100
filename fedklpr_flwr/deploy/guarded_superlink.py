"""The SuperLink of a deployment: Flower's own, with one door for boxes and one for the office.

Flower serves three interfaces on one port: Fleet for SuperNodes, which are known by their keys;
Control, by which apps are started and keys registered; Runtime for the server app. The last two ask
nobody who they are: whoever reaches the port could run code on the server and on every box. Here
they answer this machine alone, and what a stranger may take of Fleet is limited (request_limits,
system.impatient_http).

    python -m fedklpr_flwr.deploy.guarded_superlink ARGUMENTS OF flower-superlink
"""

import ipaddress
import json
import os
from functools import partial

import uvicorn
from starlette.middleware import Middleware

from fedklpr_flwr.deploy.request_limits import (
    FOR_BOXES,
    App,
    Receive,
    RequestLimits,
    Scope,
    Send,
    impatient_loop,
)
from fedklpr_flwr.flower_internals import UNGUARDED, run_superlink
from fedklpr_flwr.system.impatient_http import IMPATIENT
from fedklpr_flwr.system.open_files import allow_all_open_files

_CONNECTIONS = 1000
_LOOP = f"{impatient_loop.__module__}:{impatient_loop.__name__}"

_REFUSAL = (
    "This SuperLink answers other machines on its Fleet interface alone: run flwr and fedklpr on "
    "its own machine."
)


class OfficeOnly:
    """Middleware: another machine is answered on the Fleet interface, and nowhere else."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with status 403."""
        if scope["type"] == "lifespan" or may_ask(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        body = json.dumps({"detail": _REFUSAL}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def may_ask(scope: Scope) -> bool:
    """Whether a request is for the boxes' interface, or comes from the SuperLink's own machine.

    Args:
        scope: ASGI's, of one request; `client` and `server` are (address, port).
    """
    if str(scope["path"]).startswith(FOR_BOXES):
        return True
    client, server = (str((scope.get(end) or ("",))[0]) for end in ("client", "server"))
    return client == server != "" or _is_loopback(client)


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def main() -> None:
    """Run `flower-superlink` with the guard before all its interfaces."""
    for name in UNGUARDED:
        if os.environ.get(name, "").strip():
            raise SystemExit(
                f"{name}={os.environ[name]!r:.20} opens a port of Flower's that this guard does "
                f"not see: start again without it (unset {name})"
            )
    # uvicorn would believe whoever this names where a request says it comes from.
    os.environ["FORWARDED_ALLOW_IPS"] = "127.0.0.1"
    # Connections that have not finished TLS are counted nowhere, and each is an open file.
    allow_all_open_files()
    # Flower hands uvicorn neither a protocol, a loop nor a limit.
    uvicorn.run = partial(uvicorn.run, loop=_LOOP, limit_concurrency=_CONNECTIONS, **IMPATIENT)
    run_superlink((Middleware(OfficeOnly), Middleware(RequestLimits)))


if __name__ == "__main__":
    main()

"""Claims about the SuperLink's guard: boxes reach the Fleet interface, this machine all of them."""

import asyncio
import os
import resource

import pytest
import uvicorn
from flwr.superlink import cli, extensions
from uvicorn.importer import import_from_string

from fedklpr_flwr.deploy import guarded_superlink
from fedklpr_flwr.deploy.guarded_superlink import OfficeOnly, may_ask
from fedklpr_flwr.deploy.request_limits import RequestLimits, impatient_loop
from fedklpr_flwr.system.impatient_http import IMPATIENT

OFFICE, BOX = "192.0.2.7", "198.51.100.4"


def scope(path, client, server=OFFICE, kind="http"):
    return {"type": kind, "path": path, "client": (client, 50000), "server": (server, 8443)}


@pytest.mark.parametrize(
    ("path", "client", "allowed"),
    [
        ("/v1/fleet/activate-node", BOX, True),
        ("/v1/control/start-run", BOX, False),
        ("/v1/control/register-node", BOX, False),
        ("/v1/runtime/acquire-task", BOX, False),
        ("/v1/fleet/../control/start-run", BOX, True),  # no such route: paths are taken as they are
        ("//v1/fleet/x", BOX, False),
        ("/docs", BOX, False),
        ("/v1/control/start-run", "127.0.0.1", True),
        ("/v1/control/start-run", "::1", True),
        ("/v1/control/start-run", "::ffff:127.0.0.1", True),
        ("/v1/control/start-run", OFFICE, True),
        ("/v1/control/start-run", "", False),
    ],
)
def test_another_machine_reaches_the_boxes_interface_alone(path, client, allowed):
    assert may_ask(scope(path, client)) is allowed


def test_a_request_of_unknown_origin_is_another_machines():
    assert not may_ask({"type": "http", "path": "/v1/control/start-run", "client": None})


def test_what_is_refused_never_reaches_flower():
    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope["path"])

    async def send(message):
        sent.append(message)

    guard = OfficeOnly(app)
    for kind in ("http", "websocket"):
        asyncio.run(guard(scope("/v1/control/start-run", BOX, kind=kind), None, send))
    assert reached == []
    assert [message.get("status", message["type"]) for message in sent] == [
        403,
        "http.response.body",
        "websocket.close",
    ]
    asyncio.run(guard(scope("/v1/fleet/heartbeat", BOX), None, send))
    asyncio.run(guard({"type": "lifespan", "path": "start"}, None, send))
    assert reached == ["/v1/fleet/heartbeat", "start"]


def test_the_guard_stands_first_and_no_other_machine_says_where_a_request_is_from(monkeypatch):
    """Flower's own part, which would serve for ever, only looks around here."""
    found = {}

    def look():
        found["first"] = [middleware.cls for middleware in extensions.get_middleware()]
        found["how"] = {name: uvicorn.run.keywords.get(name) for name in IMPATIENT}
        found["loop"] = import_from_string(uvicorn.run.keywords["loop"])
        found["believed"] = os.environ["FORWARDED_ALLOW_IPS"]

    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setattr(extensions, "get_middleware", lambda: ())
    monkeypatch.setattr(cli, "flower_superlink", look)
    monkeypatch.setattr(uvicorn, "run", uvicorn.run)  # put back afterwards
    guarded_superlink.main()
    first = [OfficeOnly, RequestLimits]
    believed = {"believed": "127.0.0.1", "how": IMPATIENT}
    assert found == {"first": first, "loop": impatient_loop, **believed}
    assert len(set(resource.getrlimit(resource.RLIMIT_NOFILE))) == 1, "as many as it may"


@pytest.mark.parametrize("name", ["FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API"])
def test_a_switch_that_opens_a_port_past_the_guard_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(cli, "flower_superlink", lambda: pytest.fail("it started"))
    with pytest.raises(SystemExit, match=f"{name}='1' opens a port"):
        guarded_superlink.main()

"""Claims about deploy.request_limits: a stranger may take little of the SuperLink's port."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time

import pytest
import uvicorn

from fedklpr_flwr.deploy import request_limits
from fedklpr_flwr.deploy.certificates import make_authority, sign_server
from fedklpr_flwr.deploy.request_limits import RequestLimits
from fedklpr_flwr.system import impatient_http
from fedklpr_flwr.system.impatient_http import IMPATIENT, ImpatientProtocol

BOX = "198.51.100.4"


class Flower:
    """What stands behind the limits: reads a body whole, as Flower does, and answers 200."""

    def __init__(self):
        self.bodies, self.may_answer = [], None

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        if self.may_answer is not None:
            await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def test_a_connection_that_never_finishes_tls_is_closed(tmp_path, monkeypatch):
    """Before TLS a connection has no request, and no limit but this one sees it."""
    monkeypatch.setattr(request_limits, "HANDSHAKE_SECONDS", 0.3)
    signed = sign_server(make_authority("t"), "t", ("localhost",), 30)
    for name, content in (("crt", signed.certificate), ("key", signed.key)):
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    loop = request_limits.impatient_loop()

    async def wait_silently():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
            server.close()

    with contextlib.closing(loop):
        assert loop.run_until_complete(wait_silently()) == b""


def scope(path="/v1/fleet/push-object", client=BOX, **headers):
    told = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    return {"type": "http", "path": path, "client": (client, 50000), "headers": told}


async def status_of(limits, parts, **of):
    """The status of a request whose body comes in these parts; None = nothing comes any more."""
    left, sent = list(parts), []

    async def receive():
        part = left.pop(0)
        if part is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    await limits(scope(**of), receive, send)
    return sent[0]["status"], left or parts


def test_an_honest_body_reaches_flower_to_the_byte():
    flower = Flower()
    piece = bytes(range(256)) * 20_480  # 5 MiB
    status, _ = asyncio.run(status_of(RequestLimits(flower), [piece, b"", b"end"]))
    assert status == 200
    assert flower.bodies == [piece + b"end"]


def test_a_body_that_is_told_to_be_too_long_is_refused_before_a_byte_is_read():
    flower, parts = Flower(), [b"x", b"y"]
    limits = RequestLimits(flower)
    status, left = asyncio.run(status_of(limits, parts, content_length="300000000"))
    assert (status, left, flower.bodies) == (413, parts, [])


def test_a_body_that_tells_no_length_is_refused_where_it_grows_too_long():
    flower = Flower()
    mebibyte = bytes(2**20)
    status, left = asyncio.run(status_of(RequestLimits(flower), [mebibyte] * 300))
    assert (status, len(left), flower.bodies) == (413, 300 - 9, [])


def test_what_a_refused_body_took_is_given_back():
    async def both(limits):
        for _ in range(70):  # more than may be read together
            assert (await status_of(limits, [bytes(2**20)] * 9))[0] == 413
        return (await status_of(limits, [b"honest"]))[0]

    assert asyncio.run(both(RequestLimits(Flower()))) == 200


def test_a_body_that_stops_coming_is_given_up(monkeypatch):
    monkeypatch.setattr(request_limits, "IDLE_SECONDS", 0.05)
    assert asyncio.run(status_of(RequestLimits(Flower()), [b"half", None]))[0] == 408


def test_one_address_has_few_requests_open_and_no_other_pays_for_it():
    async def many():
        flower = Flower()
        flower.may_answer = asyncio.Event()
        limits = RequestLimits(flower)
        open_ = [
            asyncio.ensure_future(status_of(limits, [b""])) for _ in range(request_limits.MOST_OPEN)
        ]
        await asyncio.sleep(0)
        while len(flower.bodies) < request_limits.MOST_OPEN:
            await asyncio.sleep(0.01)
        refused = await status_of(limits, [b""])
        other = asyncio.ensure_future(status_of(limits, [b""], client="192.0.2.1"))
        flower.may_answer.set()
        statuses = {(await answer)[0] for answer in (*open_, other)}
        return refused[0], statuses, (await status_of(limits, [b""]))[0]

    assert asyncio.run(many()) == (503, {200}, 200)


def test_bodies_that_are_read_at_once_are_no_more_than_the_memory_kept_for_them(monkeypatch):
    monkeypatch.setattr(request_limits, "MOST_TOGETHER", 16)

    async def two(limits):
        slow = asyncio.ensure_future(status_of(limits, [b"12345678", None]))
        await asyncio.sleep(0.01)
        found = await status_of(limits, [b"123"])
        slow.cancel()
        return found[0]

    assert asyncio.run(two(RequestLimits(Flower()))) == 503


def test_one_address_leaves_room_for_the_bodies_of_the_others():
    async def stranger_and_box(limits):
        whole = [bytes(request_limits.MOST_BYTES), None]
        slow = [
            asyncio.ensure_future(status_of(limits, whole, client="192.0.2.1"))
            for _ in range(request_limits.MOST_OPEN)
        ]
        await asyncio.sleep(0.1)
        honest = [await status_of(limits, [bytes(request_limits.MOST_BYTES)]) for _ in range(2)]
        for request in slow:
            request.cancel()
        return [status for status, _ in honest]

    assert asyncio.run(stranger_and_box(RequestLimits(Flower()))) == [200, 200]


def test_the_offices_own_interfaces_are_not_limited():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})

    long = {"path": "/v1/control/start-run", "content_length": "300000000"}
    assert asyncio.run(status_of(RequestLimits(app), [b""], **long))[0] == 204


# ----------------------------------------------------------------------- a real server


@pytest.fixture
def port(monkeypatch):
    """A real uvicorn with the limits, which waits a third of a second for a head."""
    monkeypatch.setattr(impatient_http, "HEADER_SECONDS", 0.3)
    own = {"log_config": None, "lifespan": "off", **IMPATIENT}
    config = uvicorn.Config(RequestLimits(Flower()), host="127.0.0.1", port=0, **own)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def closed_within(sock, seconds):
    sock.settimeout(seconds)
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(1000):
            pass
    return True


@pytest.mark.parametrize("begin", [b"", b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\n"])
def test_who_never_ends_a_requests_head_is_sent_away(begin, port):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(begin)
        assert closed_within(sock, 5)


def test_a_long_body_is_refused_over_a_real_connection_and_an_honest_one_answered(port):
    head = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    for length, body, status in ((300_000_000, b"x", b"413"), (4, b"body", b"200")):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(head % length + body)
            assert sock.recv(12).endswith(status)


def test_a_second_head_on_one_connection_must_end_as_well(port):
    head = b"POST /v1/fleet/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(head)
        assert b"200" in sock.recv(1000)
        sock.sendall(head[:20])
        assert closed_within(sock, 5)


HEAD = b"POST /v1/fleet/x HTTP/1.1\r\nHost: x\r\n"
ENDLESS = {
    "address": (b"GET /v1/fleet/", b"x"),
    "header": (HEAD + b"X-A: ", b"x"),
    "headers": (HEAD, b"a:b\r\n"),
    "chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"x"),
    "trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-A: ", b"x"),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"a:b\r\n"),
}


@pytest.mark.parametrize(("begin", "part"), ENDLESS.values(), ids=ENDLESS)
def test_what_of_a_head_has_no_end_is_not_kept(begin, part, port, monkeypatch):
    """Refused while it is sent, long before its time is over."""
    monkeypatch.setattr(impatient_http, "HEADER_SECONDS", 60)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(begin)
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            sock.sendall(part * (16 * 2**20 // len(part)))


def test_a_long_head_is_refused_where_it_comes_whole_and_at_once(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(HEAD + b"a:b\r\n" * 20_000 + b"Content-Length: 0\r\n\r\n")
        assert b" 200 " not in sock.recv(20)


def test_who_asks_for_a_websocket_is_counted_no_longer_than_it_is_connected(port):
    asked = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET /v1/fleet/x HTTP/1.1\r\nHost: x\r\n" + asked + key + b"\r\n")
        assert b" 200 " in sock.recv(1000)
        assert ImpatientProtocol._of_address == {"127.0.0.1": 1}
    end = time.monotonic() + 10
    while ImpatientProtocol._of_address and time.monotonic() < end:
        time.sleep(0.01)
    assert not ImpatientProtocol._of_address

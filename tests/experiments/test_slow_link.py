"""Claims about experiments/slow_link.py: so many bytes a second pass, and all are counted."""

import contextlib
import socket
import threading
import time

import pytest

from experiments.slow_link import SlowLink


@pytest.fixture
def target():
    """A server that swallows what it gets, and says how much that was."""
    server, got = socket.create_server(("127.0.0.1", 0)), []

    def swallow():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while chunk := connection.recv(1 << 16):
                    got.append(len(chunk))

    threading.Thread(target=swallow, daemon=True).start()
    yield server.getsockname()[1], got
    server.close()


def send(port, size):
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(bytes(size))


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_a_slow_line_passes_its_rate_and_counts_it(target):
    port, got = target
    with SlowLink(port, up=1e6) as line:
        start = time.monotonic()
        send(line.port, 300_000)
        wait_for(lambda: sum(got) == line.sent_up == 300_000)
        assert 0.29 < time.monotonic() - start < 5
        assert (line.sent_up, line.sent_down) == (300_000, 0)
        (burst,) = line.bursts_up
        assert burst.size == 300_000
        assert burst.seconds == pytest.approx(0.3, rel=0.5)


def test_two_connections_share_one_line(target):
    port, _ = target
    with SlowLink(port, up=1e6) as line:
        start = time.monotonic()
        for sender in [threading.Thread(target=send, args=(line.port, 150_000)) for _ in range(2)]:
            sender.start()
        wait_for(lambda: line.sent_up == 300_000)
        assert time.monotonic() - start > 0.29


def test_a_line_that_is_cut_loses_what_was_on_its_way(target):
    port, got = target
    with SlowLink(port, up=1e6) as line:
        send(line.port, 900_000)
        wait_for(lambda: line.sent_up > 100_000)
        line.cut()
        passed = line.sent_up
        time.sleep(0.3)
        assert line.sent_up == passed < 900_000
        assert sum(got) <= passed
        send(line.port, 1_000)  # the next connection is whole again
        wait_for(lambda: line.sent_up == passed + 1_000)


def test_a_byte_is_so_long_on_its_way(target):
    port, got = target
    with SlowLink(port, delay=0.2) as line:
        start = time.monotonic()
        send(line.port, 100_000)
        wait_for(lambda: sum(got) == 100_000)
        assert 0.2 <= time.monotonic() - start < 2  # the delay is one for all, not one a piece


def test_a_line_that_is_down_lets_nothing_pass_until_it_is_up(target):
    port, got = target
    with SlowLink(port) as line:
        line.go_down()
        with contextlib.suppress(ConnectionError):
            send(line.port, 1_000)
        time.sleep(0.1)
        assert sum(got) == line.sent_up == 0
        line.come_up()
        send(line.port, 1_000)
        wait_for(lambda: sum(got) == 1_000)

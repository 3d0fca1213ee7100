"""Claims about `fedklpr report --serve`: on this machine alone, and as new as the run folder."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from pages import Page
from run_folders import write_run

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report import serving
from fedklpr_flwr.report.serving import LivePage, page_server
from fedklpr_flwr.report.site_inspection import Look
from fedklpr_flwr.runs.rows import Row, append_rows, round_row

LOOK = Look(pictures=False)


@contextmanager
def served(folder):
    """`get(path, host)` of a page that is being served: status, headers and text."""
    server = page_server(LivePage(folder, LOOK), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def get(path="/", host=None, token=server.token):
        path = f"/{token}{path}" if token else path
        line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        line.request("GET", path, headers={"Host": host} if host else {})
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        return answer.status, answer.headers, text

    get.port = server.server_port
    try:
        yield get
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def running(tmp_path):
    return write_run(tmp_path / "run", "federation.rounds=3", status="running")


def refreshes(text):
    return [a for a in Page(text).named("meta") if a.get("http-equiv") == "refresh"]


def test_a_run_that_goes_on_is_shown_as_its_rows_come(running):
    with served(running) as get:
        status, headers, text = get()
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "0.600" in text
        assert len(refreshes(text)) == 1
        rows = [Row(2, "ash", rank1=0.75), Row(2, "birch", rank1=0.95)]
        append_rows(running / "run.jsonl", [*rows, round_row(rows, 1.0, {})])
        assert "0.850" in get("/?again")[2]


def test_a_page_that_is_up_to_date_is_not_made_again(running):
    page = LivePage(running, LOOK)
    assert page.html() is page.html()


def test_a_run_that_has_ended_is_not_asked_for_again(tmp_path):
    folder = write_run(tmp_path / "run", "deployment=true")
    with served(folder) as get:
        assert refreshes(get()[2]) == []


def test_only_this_machine_by_its_own_name_is_answered(running):
    with served(running) as get:
        status, _, text = get(host="evil.example")
        assert status == 403
        assert "0.600" not in text
        assert get("/run.jsonl")[0] == 404
        assert get("/../config.yaml")[0] == 404
    server = page_server(LivePage(running, LOOK), 0)
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(RunError, match=f"--port {server.server_port} cannot be opened"):
        page_server(LivePage(running, LOOK), server.server_port)
    server.server_close()


def test_a_folder_that_is_damaged_meanwhile_is_one_sentence(running):
    with served(running) as get:
        with (running / "run.jsonl").open("a") as file:
            file.write("{rubbish}\n")
        status, _, text = get()
        assert status == 500
        assert "is damaged" in text
        (running / "status.json").write_text(json.dumps({"status": "failed"}))
        assert get()[0] == 500


def test_another_user_of_this_machine_who_was_not_told_the_address_gets_nothing(running):
    with served(running) as get:
        for path in ("/", "/x/", "/ü/"):
            status, _, text = get(quote(path), token="")
            assert (status, "0.600" in text) == (404, False)
        assert get()[0] == 200


def test_a_connection_that_asks_nothing_is_closed(running, monkeypatch):
    monkeypatch.setattr(serving, "IDLE_SECONDS", 0.1)
    server = page_server(LivePage(running, LOOK), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as line:
            line.sendall(b"GET / HT")
            assert line.recv(100) == b"", "the server hangs up"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_request_that_is_too_long_is_not_read_on(running):
    with served(running) as get:
        assert get(host="a" * 10_000)[0] == 403
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe|without response"):
            get(host="a" * 40_000)


def test_a_request_that_comes_in_driblets_is_given_up(running, monkeypatch):
    monkeypatch.setattr(serving, "IDLE_SECONDS", 0.5)

    def drip(line):
        for _ in range(100):
            line.sendall(b"x")
            time.sleep(0.05)

    with (
        served(running) as get,
        socket.create_connection(("127.0.0.1", get.port), timeout=30) as line,
        pytest.raises(OSError, match=r"reset|[Bb]roken pipe"),
    ):
        drip(line)

"""Claims about the search page's server: it answers this machine alone, and only what it should."""

import base64
import http.client
import io
import json
import socket
import threading
from contextlib import contextmanager

import pytest
from galleries import small_model, write_figure, write_gallery
from PIL import Image

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.search import serving
from fedklpr_flwr.search.gallery import open_gallery
from fedklpr_flwr.search.nearest_people import nearest_people, query_feature
from fedklpr_flwr.search.serving import _thumbnail, open_page
from fedklpr_flwr.system import impatient_http


@contextmanager
def running(model, gallery):
    page = open_page(model, gallery, 0)
    thread = threading.Thread(target=page.run, daemon=True)
    thread.start()
    try:
        yield page
    finally:
        page.stop()
        thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture
def root(tmp_path):
    return write_gallery(tmp_path / "gallery", persons=6)


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def gallery(model, root):
    return open_gallery(model, root, None)


@pytest.fixture
def ask(model, gallery):
    """`ask("POST", "/search", body, **headers)`: status, headers and text."""
    with running(model, gallery) as page:

        def asked(method="GET", path="/", body=None, **headers):
            line = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
            line.request(
                method, f"/{page.token}{path}", body, {k.title(): v for k, v in headers.items()}
            )
            answer = line.getresponse()
            text = answer.read().decode()
            line.close()
            return answer.status, answer.headers, text

        asked.port = page.port
        yield asked


def test_the_page_asks_for_nothing_but_its_own_script_and_style(ask):
    status, headers, text = ask()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    for rule in ("default-src 'none'", "script-src 'self'", "connect-src 'self'"):
        assert rule in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "12 pictures by 2 cameras, by a model" in text
    assert "http://" not in text.replace("https://", "http://")
    assert " style=" not in text
    for path, kind in (("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, headers, _ = ask(path=path)
        assert (status, headers.get_content_type()) == (200, kind)


def test_a_search_gives_the_nearest_ten_with_thumbnails(ask, root, model, gallery):
    query = write_figure(root.parent / "query.png", 2, 1, seed=9)
    status, headers, text = ask("POST", "/search", query.read_bytes())
    told = json.loads(text)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert told["searched"] == 12
    near = nearest_people(gallery, query_feature(model, query), 10)
    assert [one["picture"] for one in told["found"]] == [
        one.path.relative_to(root).as_posix() for one in near
    ]
    assert [one["score"] for one in told["found"]] == pytest.approx([one.score for one in near])
    assert [one["place"] for one in told["found"]] == list(range(1, 11))
    assert all(one["thumbnail"].startswith("data:image/jpeg;base64,") for one in told["found"])


def test_a_gallery_picture_that_is_gone_is_told_without_a_thumbnail(ask, root):
    query = (root / "east" / "1.png").read_bytes()
    (root / "east" / "1.png").unlink()
    first = json.loads(ask("POST", "/search", query)[2])["found"][0]
    assert (first["picture"], first["thumbnail"]) == ("east/1.png", None)


@pytest.mark.parametrize("body", [b"", b"no picture", b"GIF89a"])
def test_what_is_no_picture_is_told_in_a_sentence(ask, body):
    status, _, text = ask("POST", "/search", body)
    assert status == 422
    assert json.loads(text)["error"].startswith("That file cannot be searched with: ")


def test_a_file_that_is_too_large_is_refused(ask, monkeypatch):
    monkeypatch.setattr(serving, "MOST_MEGABYTES", 1)
    status, _, text = ask("POST", "/search", b"x" * 1_000_001)
    assert status == 413
    assert "larger than 1 MB" in json.loads(text)["error"]


def test_only_this_machine_by_its_own_name_and_its_own_page_is_answered(ask, root):
    query = (root / "east" / "1.png").read_bytes()
    for host in ("evil.example", f"evil.example:{ask.port}", "127.0.0.1:1", ""):
        status, _, text = ask(host=host)
        assert status == 403, host
        assert "pictures" not in text
        assert ask("POST", "/search", query, host=host)[0] == 403
    assert ask(host=f"localhost:{ask.port}")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert ask("POST", "/search", query, origin=origin)[0] == 403, origin
    assert ask("POST", "/search", query, origin=f"http://127.0.0.1:{ask.port}")[0] == 200


def test_there_is_nothing_else_to_be_had(ask):
    for path in ("/east/1.png", "/../gallery/east/1.png", "/search", "/docs", "/openapi.json"):
        assert ask(path=path)[0] in (404, 405), path


def test_another_user_of_this_machine_who_was_not_told_the_address_gets_nothing(model, gallery):
    with running(model, gallery) as page:
        for path in ("/", "/page.js", "/search", "/x/", f"/{page.token[:-1]}/"):
            line = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
            line.request("POST" if path == "/search" else "GET", path)
            assert line.getresponse().status == 404, path
            line.close()


def test_it_listens_on_loopback_alone_and_says_if_the_port_is_taken(model, gallery):
    with running(model, gallery) as page:
        assert page.address == f"http://127.0.0.1:{page.port}/{page.token}/"
        assert page._socket.getsockname()[0] == "127.0.0.1"
        with pytest.raises(RunError, match=f"--port {page.port} cannot be opened"):
            open_page(model, gallery, page.port)


def test_who_asks_nothing_or_without_end_is_sent_away(model, gallery, monkeypatch):
    monkeypatch.setattr(impatient_http, "HEADER_SECONDS", 0.3)
    with running(model, gallery) as page:
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
            assert line.recv(100) == b"", "the server hangs up"
        monkeypatch.setattr(impatient_http, "HEADER_SECONDS", 60)
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
            line.sendall(b"GET / HTTP/1.1\r\nX-A: ")
            with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
                line.sendall(b"x" * 16 * 2**20)


@pytest.mark.slow
def test_a_thumbnail_stands_upright_and_is_made_of_documented_formats_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (64, 32), "red")
    lying.save(tmp_path / "held.png", exif=exif)
    address = _thumbnail(tmp_path / "held.png")
    assert address is not None
    shown = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert shown.size == (32, 64)
    Image.new("RGB", (9000, 9000)).save(tmp_path / "bomb.png")
    assert _thumbnail(tmp_path / "bomb.png") is None
    Image.new("RGB", (64, 64)).save(tmp_path / "icon.png", "ICO")
    assert _thumbnail(tmp_path / "icon.png") is None

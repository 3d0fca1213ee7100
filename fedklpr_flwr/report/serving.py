"""The report of a run while it goes on: a page on this machine alone, made anew as rows come."""

import hmac
import io
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.report.html_report import html_report, moment_of
from fedklpr_flwr.report.page.page import POLICY, whole_page
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.report.site_inspection import Look, Seen
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.loopback import LOOPBACK, new_token, own_names, port_taken

REFRESH_SECONDS = 5
IDLE_SECONDS = 10
"""After so long a connection that asks nothing is closed: each takes an open file."""
MOST_HEAD = 16 * 2**10
"""Bytes of a request, which has a head alone."""
_FILES = (run_files.ROWS, run_files.STATUS, run_files.STATE, run_files.CONFIG)
_LATER = "Pictures are looked at when the run has ended; this page then shows them."


class LivePage:
    """The page of a run folder, kept until a file that it is made of changes."""

    def __init__(self, folder: Path, look: Look) -> None:
        self._folder, self._look = folder, look
        self._lock = threading.Lock()
        self._stamp: list[tuple[int, int] | None] | None = None
        self._page = ""

    def html(self) -> str:
        """The page; while the run goes on it asks a browser to come again, and shows no people.

        Raises:
            FedKlprError: no page can be made of the folder.
        """
        with self._lock:  # several browsers wait for one page instead of making it each
            stamp = [_stamp(self._folder / name) for name in _FILES]
            if stamp != self._stamp:
                self._page, self._stamp = self._made(), stamp
            return self._page

    def _made(self) -> str:
        run = read_run_report(self._folder)
        if run.status != "running":
            return html_report(self._folder, self._look)
        moment = moment_of(self._folder)
        return whole_page(run, Seen(why=_LATER), moment=moment, refresh=REFRESH_SECONDS)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class PageServer(ThreadingHTTPServer):
    """A server of one page, under an address that only who started it knows.

    Attributes:
        token: the address's secret part: other users of this machine reach its loopback too.
    """

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((LOOPBACK, port), handler)
        self.token = new_token()

    @property
    def address(self) -> str:
        """What to type into a browser on this machine."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


def page_server(page: LivePage, port: int) -> PageServer:
    """A server of one page on loopback; `serve_forever` runs it, `address` says where.

    Args:
        page: what it shows.
        port: 0 takes a free one.

    Raises:
        RunError: the port is taken.
    """

    class Handler(_Handler):
        shown = page
        timeout = IDLE_SECONDS

    try:
        return PageServer(port, Handler)
    except OSError as error:
        raise port_taken(port, error) from error


class _Head(io.RawIOBase):
    """A request as it comes: neither longer than MOST_HEAD nor, in driblets, without an end."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._left = line, MOST_HEAD
        self._end = time.monotonic() + IDLE_SECONDS

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        """Read on; TimeoutError, upon which the connection is closed, where it was enough."""
        if not self._left or time.monotonic() > self._end:
            raise TimeoutError
        count = self._line.recv_into(into, min(len(into), self._left))
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    shown: LivePage
    server: PageServer

    def setup(self) -> None:
        """Read no more than a request's head."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Head(self.connection))

    def do_GET(self) -> None:
        """Answer with the page, and to a name that is not this machine's with nothing."""
        if self.headers.get("Host", "") not in own_names(self.server.server_port):
            self._answer(HTTPStatus.FORBIDDEN, "this page is for this machine alone", "plain")
        elif not hmac.compare_digest(self._asked(), f"/{self.server.token}/".encode()):
            said = "there is one page, at the address that fedklpr report printed"
            self._answer(HTTPStatus.NOT_FOUND, said, "plain")
        else:
            try:
                self._answer(HTTPStatus.OK, self.shown.html(), "html")
            except FedKlprError as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), "plain")

    def _asked(self) -> bytes:
        return self.path.partition("?")[0].encode("utf-8", "replace")

    def _answer(self, status: HTTPStatus, said: str, kind: str) -> None:
        content = said.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the terminal is for the address."""

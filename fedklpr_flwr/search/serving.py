"""The search page on this machine alone: a picture is sent to it, the nearest ones come back."""

import base64
import io
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedklpr_flwr.data.picture_file import read_bytes, shown_picture
from fedklpr_flwr.errors import FedKlprError, SettingsError, UnreadablePicture
from fedklpr_flwr.runs.opened_model import PictureModel
from fedklpr_flwr.search.gallery import Gallery
from fedklpr_flwr.search.nearest_people import Found, nearest_people, query_feature
from fedklpr_flwr.search.page import CSS, POLICY, SCRIPT, search_page
from fedklpr_flwr.system.loopback import LOOPBACK, new_token, own_names, port_taken
from fedklpr_flwr.wording import counted

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

SHOWN = 10
MOST_MEGABYTES = 20
_THUMBNAIL = (160, 320)

Handler = Callable[["Request"], Awaitable["Response"]]


@dataclass
class OpenPage:
    """A page that waits for its browser.

    Attributes:
        port: where.
        token: the address's secret part: other users of this machine reach its loopback too.
    """

    port: int
    token: str
    _server: Any
    _socket: socket.socket

    @property
    def address(self) -> str:
        """What to type into a browser on this machine."""
        return f"http://{LOOPBACK}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Answer until `stop`, or Ctrl-C."""
        try:
            self._server.run(sockets=[self._socket])
        except KeyboardInterrupt:
            pass
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._server.should_exit = True


def open_page(model: PictureModel, gallery: Gallery, port: int) -> OpenPage:
    """Open the port of a search page.

    Args:
        model: the one that the gallery's features are of.
        gallery: what is searched.
        port: 0 takes a free one.

    Raises:
        RunError: the port is taken.
        SettingsError: the extra `serve` is not installed.
    """
    try:
        import uvicorn

        from fedklpr_flwr.system.impatient_http import IMPATIENT
    except ImportError as error:
        raise SettingsError(
            "--serve needs the packages starlette and uvicorn: pip install 'fedklpr-flwr[serve]'"
        ) from error
    try:
        opened = socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise port_taken(port, error) from error
    found, token = opened.getsockname()[1], new_token()
    config = uvicorn.Config(
        search_app(model, gallery, found, token),
        log_level="error",
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        **IMPATIENT,
    )
    return OpenPage(found, token, uvicorn.Server(config), opened)


def search_app(model: PictureModel, gallery: Gallery, port: int, token: str) -> "Starlette":
    """The page and its search as an ASGI application.

    Args:
        model: the one that the gallery's features are of.
        gallery: what is searched.
        port: where it is served: a request that names another host is refused.
        token: the first part of every path that is answered.
    """
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    page = search_page(_name(gallery), _what(model, gallery), MOST_MEGABYTES)
    own = own_names(port)
    lock = threading.Lock()

    async def search(request: "Request") -> "Response":
        if request.headers.get("origin", f"http://{LOOPBACK}:{port}") not in _origins(own):
            return _json(403, error="another page asks: open this one itself")
        data = await _body(request)
        if data is None:
            return _json(413, error=f"That file is larger than {MOST_MEGABYTES} MB.")
        from starlette.concurrency import run_in_threadpool

        return await run_in_threadpool(_answer, model, gallery, data, lock)

    routes = [
        Route("/", _guarded(own, _text(page, "text/html")), methods=["GET"]),
        Route("/page.css", _guarded(own, _text(CSS, "text/css")), methods=["GET"]),
        Route("/page.js", _guarded(own, _text(SCRIPT, "text/javascript")), methods=["GET"]),
        Route("/search", _guarded(own, search), methods=["POST"]),
    ]
    return Starlette(routes=[Mount(f"/{token}", routes=routes)])


def _name(gallery: Gallery) -> str:
    return gallery.root.resolve().name


def _what(model: PictureModel, gallery: Gallery) -> str:
    cameras = f" by {counted(gallery.cameras, 'camera')}" if gallery.cameras else ""
    return f"{counted(len(gallery.pictures), 'picture')}{cameras}, by {model.name}"


def _origins(own: frozenset[str]) -> set[str]:
    return {f"http://{name}" for name in own}


def _guarded(own: frozenset[str], handler: Handler) -> Handler:
    """The same for this machine's own browser; nothing for anybody else's name."""

    async def guarded(request: "Request") -> "Response":
        if request.headers.get("host", "") in own:
            answer = await handler(request)
        else:
            answer = _json(403, error="this page is for this machine alone")
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return guarded


def _text(content: str, kind: str) -> Handler:
    async def handler(request: "Request") -> "Response":
        from starlette.responses import Response

        return Response(content, media_type=kind)

    return handler


def _json(status: int, **content: object) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse(content, status_code=status)


async def _body(request: "Request") -> bytes | None:
    """What was sent; None where it is more than a picture may have, which is then not read on."""
    most = MOST_MEGABYTES * 1_000_000
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def _answer(model: PictureModel, gallery: Gallery, data: bytes, lock: threading.Lock) -> "Response":
    """Search with a picture's bytes; one at a time, since each takes all cores."""
    try:
        with lock:
            feature = query_feature(model, Path("the file"), data)
            near = nearest_people(gallery, feature, SHOWN)
    except UnreadablePicture as error:
        return _json(422, error=f"That file cannot be searched with: {error.why}.")
    except FedKlprError as error:
        return _json(500, error=str(error))
    found = [_told(place, one, gallery) for place, one in enumerate(near, 1)]
    return _json(200, found=found, searched=len(gallery.pictures))


def _told(place: int, one: Found, gallery: Gallery) -> dict[str, object]:
    return {
        "place": place,
        "score": round(one.score, 6),
        "camera": one.camera,
        "person": one.person,
        "picture": one.path.relative_to(gallery.root).as_posix(),
        "thumbnail": _thumbnail(one.path),
    }


def _thumbnail(path: Path) -> str | None:
    """A picture as a data address; None where it is no longer there."""
    small = io.BytesIO()
    width, height = _THUMBNAIL
    try:
        shown = shown_picture(read_bytes(path), path, height=height, width=width)
    except UnreadablePicture:
        return None
    shown.thumbnail(_THUMBNAIL)
    shown.save(small, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(small.getvalue()).decode("ascii")

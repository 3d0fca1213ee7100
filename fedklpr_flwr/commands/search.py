"""`fedklpr search`: the people of a folder nearest to those on a picture, in a table or a page."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedklpr_flwr.commands.progress_bars import counting
from fedklpr_flwr.data.contact_sheet import SheetRow, search_sheet
from fedklpr_flwr.errors import SettingsError, UnreadablePicture
from fedklpr_flwr.runs.opened_model import PictureModel, open_model
from fedklpr_flwr.search.gallery import Gallery, open_gallery
from fedklpr_flwr.search.nearest_people import Found, nearest_people, query_feature
from fedklpr_flwr.system.paths import user_cache
from fedklpr_flwr.system.plain_text import printable
from fedklpr_flwr.wording import counted

_PORT = 8766
_LISTED = 10

Results = Sequence[tuple[Path, Sequence[Found]]]


def search(
    model: Annotated[
        Path, typer.Option(help="a run folder, or a file: global.safetensors or an export")
    ],
    gallery: Annotated[
        Path, typer.Option(help="the pictures to search in: CAMERA/*.jpg, or plain ones")
    ],
    query: Annotated[
        list[Path] | None, typer.Option(help="a picture of one person; may be given several times")
    ] = None,
    client: Annotated[str | None, typer.Option(help="of a run: this client's own model")] = None,
    height: Annotated[
        int | None, typer.Option(min=32, help="of weights: how high their pictures are, 256 or 128")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="pictures found for each query")] = 10,
    sheet: Annotated[Path | None, typer.Option(help="write a contact sheet: this PNG")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="read every gallery file again, changed or not")
    ] = False,
    camera_norm: Annotated[
        bool,
        typer.Option("--camera-norm", help="take each gallery camera's look out of its pictures"),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep/--forget", help="keep the gallery's features for the next time")
    ] = True,
    trust: Annotated[
        bool, typer.Option("--trust", help="open the folders that somebody else's run names")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="a page in this machine's browser to drop pictures on")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"of --serve; default: {_PORT}")
    ] = None,
) -> None:
    """Find the people of a folder who look most like the one on a picture.

    The gallery is looked at once for a model: its features are kept in the user's cache folder,
    and only pictures that are new or have changed are looked at again.

    Example: fedklpr search --model runs/latest --gallery /srv/gate-3 --query who.jpg
    """
    _check(query, sheet, as_json, serve, port)
    opened = open_model(model, client, height, trust=trust)
    if opened.remark:
        _note(opened.remark)
    with counting("looking at the gallery") as told:
        cache = user_cache() if keep else None
        searched = open_gallery(
            opened, gallery, cache, recheck=recheck, camera_norm=camera_norm, progress=told
        )
    _tell_left_out(searched)
    if serve:
        _serve(opened, searched, _PORT if port is None else port)
        return
    found = [(path, nearest_people(searched, _asked(opened, path), top)) for path in query or []]
    _show(opened, searched, found, sheet, as_json)


def _show(
    model: PictureModel, gallery: Gallery, found: Results, sheet: Path | None, as_json: bool
) -> None:
    if as_json:
        print(json.dumps([_told(path, near) for path, near in found], indent=1))
    else:
        _print_tables(model, gallery, found)
    if sheet is not None:
        search_sheet([_sheet_row(path, near) for path, near in found], sheet)
        _note(f"contact sheet in {sheet}")


def _check(
    query: list[Path] | None, sheet: Path | None, as_json: bool, serve: bool, port: int | None
) -> None:
    """Refuse options that mean nothing together."""
    if serve and (query or sheet or as_json):
        raise SettingsError(
            "--serve takes its queries from the browser: leave --query, --sheet and --json out"
        )
    if not serve and not query:
        raise SettingsError("--query PICTURE says who is looked for; --serve opens a page for it")
    if not serve and port is not None:
        raise SettingsError(f"--port {port} is where --serve shows the page: add --serve")


def _asked(model: PictureModel, path: Path) -> NDArray[np.float32]:
    try:
        return query_feature(model, path)
    except UnreadablePicture as error:
        raise SettingsError(f"--query {path}: expected a picture, got: {error.why}") from error


def _note(said: str) -> None:
    print(printable(said), file=sys.stderr, flush=True)


def _tell_left_out(gallery: Gallery) -> None:
    if gallery.looks is not None and gallery.cameras < 2:
        _note("--camera-norm changes nothing: it needs pictures of two cameras, as CAMERA/*.jpg")
    if gallery.remark:
        _note(gallery.remark)
    for doubt in gallery.doubts:
        _note(f"in doubt: {doubt}")
    if not gallery.problems:
        return
    _note(f"left out of {gallery.root}: {counted(len(gallery.problems), 'file')}")
    for path, why in gallery.problems[:_LISTED]:
        _note(f"  {path}: {why}")
    if len(gallery.problems) > _LISTED:
        _note(f"  and {len(gallery.problems) - _LISTED} more")


# ---------------------------------------------------------------------------- what is printed


def _print_tables(model: PictureModel, gallery: Gallery, found: Results) -> None:
    console = Console()
    new = f", {gallery.looked_at} of them new or changed" if gallery.looked_at else ""
    cameras = f" by {counted(gallery.cameras, 'camera')}" if gallery.cameras else ""
    pictures = counted(len(gallery.pictures), "picture")
    print(printable(f"{model.name}; {pictures}{cameras} in {gallery.root}{new}"))
    for path, near in found:
        table = Table(title=escape(printable(f"nearest to {path}")), title_justify="left")
        table.add_column("", justify="right")
        table.add_column("score", justify="right")
        named = any(one.person for one in near)
        for name in ("camera", *(["person"] if named else []), "picture"):
            table.add_column(name, overflow="fold")
        for place, one in enumerate(near, 1):
            below = one.path.relative_to(gallery.root)
            person = [one.person or "unknown"] if named else []
            words = (one.camera or "unknown", *person, str(below))
            table.add_row(
                str(place), f"{one.score:.3f}", *(escape(printable(word)) for word in words)
            )
        console.print(table)


def _told(query: Path, near: Sequence[Found]) -> dict[str, object]:
    return {
        "query": str(query),
        "found": [
            {
                "place": place,
                "score": round(one.score, 6),
                "camera": one.camera or None,
                "person": one.person or None,
                "picture": str(one.path),
            }
            for place, one in enumerate(near, 1)
        ],
    }


def _sheet_row(query: Path, near: Sequence[Found]) -> SheetRow:
    captions = [f"{n}:  {one.score:.3f}  {one.camera}" for n, one in enumerate(near, 1)]
    return SheetRow(query, [one.path for one in near], captions)


# ---------------------------------------------------------------------------- the page


def _serve(model: PictureModel, gallery: Gallery, port: int) -> None:
    from fedklpr_flwr.search.serving import open_page

    page = open_page(model, gallery, port)
    print(printable(f"{page.address} searches {gallery.root}; Ctrl-C ends it"), flush=True)
    page.run()
    print("closed")

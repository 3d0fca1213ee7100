"""`fedklpr report`: a run as one HTML page, in a file or live in a browser."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fedklpr_flwr.commands.progress_bars import tracked
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.report.html_report import html_report, write_page
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.report.serving import LivePage, page_server
from fedklpr_flwr.report.site_inspection import Look, SiteSeen, unproven
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import printable

_PORT = 8765


def report(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="report.pictures=false leaves people out")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the file; default: RUN/report.html")] = None,
    site: Annotated[
        str | None, typer.Option(help="look at this site's pictures alone, on its own machine")
    ] = None,
    data: Annotated[str | None, typer.Option(help="how that site's pictures are read")] = None,
    root: Annotated[Path | None, typer.Option(help="that site's picture folder")] = None,
    queries: Annotated[int, typer.Option(min=1, max=50, help="ranked lists a site")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="draws the queries of the lists")] = 0,
    serve: Annotated[
        bool, typer.Option("--serve", help="show it in a browser, also while the run goes on")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="open the folders that somebody else's run names")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"of --serve; default: {_PORT}")
    ] = None,
) -> None:
    """Write a run's report: one HTML page that needs nothing else, and no network.

    Pictures of people are in it where the pictures are on this machine: of a simulation all sites',
    of a deployment one site's (--site). A run that failed or still goes on has a partial report.

    Example: fedklpr report runs/latest
    """
    pictures = _pictures(overrides or [])
    _check(site, data, root)
    look = Look(pictures, site, data, root, queries, seed, trust)
    if serve:
        if out is not None:
            raise SettingsError("--serve writes no file: leave --out out, or --serve")
        _serve(run, look, _PORT if port is None else port)
        return
    if port is not None:
        raise SettingsError(f"--port {port} is where --serve shows the page: add --serve")
    page = html_report(run, look, _tracked)
    path = out or run / run_files.PAGE
    write_page(page, path)
    for remark in read_run_report(run).remarks:
        print(f"partial: {printable(remark)}")
    if unproven(look):
        print(f"note: {unproven(look)}")
    print(f"report in {path} ({len(page) / 1e6:.1f} MB{_people(page)})")


def _people(page: str) -> str:
    return ", with pictures of people" if "data:image/jpeg" in page else ""


def _pictures(overrides: list[str]) -> bool | None:
    """What the command line says of report.pictures; None where it says nothing."""
    values = {"report.pictures=true": True, "report.pictures=false": False}
    wrong = [word for word in overrides if word.lower() not in values]
    if wrong:
        raise SettingsError(
            f"{wrong[0]}: fedklpr report takes one run folder, and of the settings "
            "report.pictures=true or report.pictures=false alone"
        )
    return values[overrides[-1].lower()] if overrides else None


def _check(site: str | None, data: str | None, root: Path | None) -> None:
    """Refuse options that mean nothing together."""
    for option, value in {"--data": data, "--root": root}.items():
        if value is not None and site is None:
            raise SettingsError(f"{option} {value} says something of one site: name it by --site")
    if root is not None and data is None:
        raise SettingsError(
            f"--root {root} needs --data: how the pictures are read, folder for one"
        )
    if data is not None and root is None and not data.startswith("drawn:"):
        raise SettingsError(f"--data {data} needs --root: the folder of the site's pictures")


def _tracked(sites: Iterable[SiteSeen], count: int) -> Iterable[SiteSeen]:
    return tracked("looking at pictures", sites, count)


def _serve(run: Path, look: Look, port: int) -> None:
    read_run_report(run)  # what is no run folder is told here, not in the browser
    server = page_server(LivePage(run, look), port)
    print(f"{server.address} shows {run}; Ctrl-C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("closed")
    finally:
        server.server_close()

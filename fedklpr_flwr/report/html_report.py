"""A run folder becomes its report, one HTML page."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report.page.page import whole_page
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.report.site_inspection import (
    Look,
    Seen,
    SiteSeen,
    clients_in_sight,
    look_at_sites,
    unproven,
)
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import PRIVATE, write_atomically

Watch = Callable[[Iterable[SiteSeen], int], Iterable[SiteSeen]]
"""Passes the sites on as they are looked at; the number is how many there are."""


def html_report(folder: Path, look: Look, watch: Watch = lambda sites, count: sites) -> str:
    """The report of a run folder, whole or partial.

    Args:
        folder: the run folder.
        look: which sites' pictures are looked at.
        watch: shows progress.

    Raises:
        RunError: it is no run folder, or damaged where no page can be made of it.
        SettingsError: the run has no site that `look` names.
    """
    run = read_run_report(folder)
    settings, clients, why = clients_in_sight(folder, look)
    sites: tuple[SiteSeen, ...] = ()
    if settings is not None and clients:
        sites = tuple(watch(look_at_sites(folder, settings, clients, look), len(clients)))
    seen = Seen(sites, why, unproven(look))
    return whole_page(run, seen, moment=moment_of(folder))


def moment_of(folder: Path) -> str:
    """When the last row was written, by this machine's clock; empty where there is none."""
    path = folder / run_files.ROWS
    if not path.is_file():
        return ""
    return f"{datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}"


def write_page(page: str, path: Path) -> None:
    """Write a page for its user alone: there may be people in it.

    What no encoding has (half of a surrogate pair) becomes a question mark.

    Raises:
        RunError: it cannot be written.
    """
    try:
        write_atomically(path, page.encode("utf-8", "replace"), mode=PRIVATE)
    except RunError as error:
        raise RunError(f"{error}, or choose a file with --out") from error

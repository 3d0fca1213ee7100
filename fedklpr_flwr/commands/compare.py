"""`fedklpr compare`: runs side by side, in the terminal, as files and as pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report.comparison import Comparison, Group, compare_folders
from fedklpr_flwr.report.comparison_plots import write_plots
from fedklpr_flwr.report.comparison_text import (
    RULE,
    TextTable,
    plain,
    remarks_of,
    tables,
    write_tables,
)
from fedklpr_flwr.system.plain_text import printable


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders, or folders of them: a sweep")],
    out: Annotated[
        Path | None, typer.Option(help="write tables (Markdown, CSV) and plots (PNG) there")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="the method that the others are held against; default: fedklpr"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead")] = False,
) -> None:
    """Set runs side by side; runs that differ only in the seed become mean and spread.

    Example: fedklpr compare runs/sweeps/drawn --out comparison
    """
    comparison = compare_folders(runs)
    ours = comparison.group(reference)
    if as_json:
        print(json.dumps(plain(comparison, ours), indent=1))
    else:
        _show(comparison, ours)
    if out is not None:
        said = _write(comparison, ours, out)
        if not as_json:
            print("\n".join(said))


def _show(comparison: Comparison, ours: Group) -> None:
    console = Console()
    width = console.width
    for found in tables(comparison, ours):
        for part in found.within(width):
            table = _rich(part)
            # Never narrower than the table: a cut figure is worse than a long line.
            wide = console.options.update(max_width=1000)
            console.width = max(width, console.measure(table, options=wide).maximum)
            console.print(table)
    if len(comparison.groups) > 1:
        print(RULE)
    for remark in remarks_of(comparison):
        print(f"- {printable(remark)}")


def _rich(found: TextTable) -> Table:
    # Text and no markup: names come from others' run folders.
    title = Text(found.title) if found.title else None
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for number, heading in enumerate(found.headings):
        table.add_column(Text(heading), justify="right" if number else "left", no_wrap=True)
    for line in found.lines:
        table.add_row(*map(Text, line))
    return table


def _write(comparison: Comparison, ours: Group, out: Path) -> list[str]:
    """Write all files; one sentence each."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = write_tables(comparison, ours, out)
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error.strerror}") from error
    try:
        pictures, sentences = write_plots(comparison, out)
    except RunError as error:
        pictures, sentences = [], [str(error)]
    return [*(f"wrote {file}" for file in [*files, *pictures]), *sentences]

"""`fedklpr data`: look at a data set before training on it."""

from pathlib import Path
from typing import Annotated

import typer

from fedklpr_flwr.data.synthetic import SITES, draw_site
from fedklpr_flwr.runtime.places import user_cache

cli = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@cli.command("sheet")
def sheet(
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("contact-sheet.png"),
    seed: Annotated[int, typer.Option(help="seed of the drawings")] = 0,
) -> None:
    """Make a contact sheet of the drawn sites.

    Example: fedklpr data sheet --out sheet.png
    """
    from fedklpr_flwr.data.contact_sheet import contact_sheet

    datasets = [draw_site(site, user_cache() / "drawn", seed=seed) for site in SITES]
    print(contact_sheet(datasets, out))

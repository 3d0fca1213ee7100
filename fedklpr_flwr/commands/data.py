"""`fedklpr data`: look at a data set before training on it."""

from pathlib import Path

import typer

from fedklpr_flwr.data.synthetic import SITES, draw_site
from fedklpr_flwr.runtime.places import user_cache

cli = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@cli.command("sheet")
def sheet(
    out: Path = typer.Option(Path("contact-sheet.png"), help="the PNG to write"),
    seed: int = typer.Option(0, help="seed of the drawings"),
) -> None:
    """Make a contact sheet of the drawn sites.

    Example: fedklpr data sheet --out sheet.png
    """
    from fedklpr_flwr.data.contact_sheet import contact_sheet

    datasets = [draw_site(site, user_cache() / "drawn", seed=seed) for site in SITES]
    print(contact_sheet(datasets, out))

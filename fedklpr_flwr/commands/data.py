"""`fedklpr data`: look at a data set before training on it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

from fedklpr_flwr.commands.progress_bars import counting, tracked
from fedklpr_flwr.data.synthetic import SITES, draw_site
from fedklpr_flwr.system.paths import user_cache
from fedklpr_flwr.system.plain_text import printable

cli = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@cli.command("check")
def check(
    name: Annotated[str, typer.Argument(help="the reader: market1501, viper, folder, ...")],
    root: Annotated[Path, typer.Argument(help="the folder of the set")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead")] = False,
    seed: Annotated[int, typer.Option(help="seed of a split the set does not bring")] = 0,
) -> None:
    """Compare a data set with its card; exit status 1 where it cannot be used.

    Example: fedklpr data check viper /sets/viper
    """
    from fedklpr_flwr.data.check import check_dataset

    with counting("reading") as told:  # on stderr: what is found goes to stdout, and may be piped
        report = check_dataset(name, root, seed=seed, workers=os.cpu_count() or 1, progress=told)
    found = report.to_dict()
    print(
        json.dumps(found, indent=1)
        if as_json
        else "\n".join(map(printable, _findings(report.card, found, report.usable)))
    )
    if not report.usable:
        raise typer.Exit(1)


def _findings(card: str, found: dict[str, Any], usable: bool) -> list[str]:
    """What was found beside what was expected, and how the reader reads where that may help."""
    published = found["expected"] is not None
    words = card.strip().split("\n")
    # Of own pictures a page of layouts helps only who has another one.
    lines = [*(words if published or not usable else words[:1]), ""]
    lines.append(f"{'':10}{'pictures':>20}{'persons':>20}{'cameras':>20}")
    for part in ("total", "train", "query", "gallery"):
        cells = [
            str(found["found"][part][key]) + _expected(found["expected"], part, key)
            for key in ("images", "persons", "cameras")
        ]
        lines.append(f"{part:10}" + "".join(f"{cell:>20}" for cell in cells))
    if found["cameras"]:
        lines += ["", f"{'camera':20}" + "".join(f"{word:>10}" for word in _OF_CAMERA)]
    for camera in found["cameras"]:
        name = camera["name"] or str(camera["camera"])
        lines.append(f"{name:20}" + "".join(f"{camera[word]:10}" for word in _OF_CAMERA))
    own = "usable" if usable else "nothing here to train on, or to be scored on"
    lines += ["", f"verdict: {found['verdict'] if published else own}"]
    lines += [f"note: {note}" for note in found["notes"]]
    return [*lines, *_problems(found["problems"])]


def _problems(problems: Sequence[dict[str, str]]) -> list[str]:
    """A line each; of those that are alike the first few, and how many more there are."""
    alike: dict[str, list[dict[str, str]]] = {}
    for problem in problems:
        name = PurePath(problem["path"]).name
        alike.setdefault(problem["why"].replace(name, "*"), []).append(problem)
    lines = []
    for same in alike.values():
        lines += [_problem(**problem) for problem in same[:_SHOWN]]
        if len(same) > _SHOWN:
            lines.append(f"problem: ... and {len(same) - _SHOWN} more like it (all: --json)")
    return lines


_SHOWN = 5

_OF_CAMERA = ("train", "query", "gallery", "persons")


def _problem(path: str, why: str) -> str:
    return f"problem: {why}" if why.startswith(path) else f"problem: {path}: {why}"


def _expected(expected: dict[str, Any] | None, part: str, key: str) -> str:
    value = ((expected or {}).get(part) or {}).get(key)
    return "" if expected is None else f" of {'?' if value is None else value}"


@cli.command("sheet")
def sheet(
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("contact-sheet.png"),
    seed: Annotated[int, typer.Option(help="seed of the drawings")] = 0,
) -> None:
    """Make a contact sheet of the drawn sites.

    Example: fedklpr data sheet --out sheet.png
    """
    from fedklpr_flwr.data.contact_sheet import contact_sheet

    drawn = tracked("drawing", SITES, len(SITES))
    datasets = [draw_site(site, user_cache() / "drawn", seed=seed) for site in drawn]
    print(contact_sheet(datasets, out))

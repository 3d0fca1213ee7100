"""`fedklpr export`: a run's model as one file for others, with a card beside it."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from fedklpr_flwr.data.benchmarks import open_tree
from fedklpr_flwr.data.benchmarks.folder import searched_rows
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_cache import load_pictures
from fedklpr_flwr.errors import DataError, FedKlprError, SettingsError
from fedklpr_flwr.export.card import Shipped, model_card
from fedklpr_flwr.export.recipe import beyond
from fedklpr_flwr.export.sparse_file import Architecture
from fedklpr_flwr.export.write_export import SUFFIXES, Pictures, ship
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.runs.opened_model import PictureModel, open_model
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.paths import user_cache
from fedklpr_flwr.system.plain_text import printable
from fedklpr_flwr.wording import counted

_CHECKED = 16


class Format(StrEnum):
    """What a model can be exported as."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    SAFETENSORS = "safetensors"


def export(
    run: Annotated[Path, typer.Argument(help="a run folder, or a file of weights")],
    kind: Annotated[Format, typer.Option("--format", help="what kind of file")] = Format.ONNX,
    client: Annotated[
        str | None, typer.Option(help="this client's own model; default: the merged one")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="the file; default: RUN/export/NAME, its card beside it")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="a folder of pictures to check it on; default: the run's own"),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(min=16, help="of weights, how high their pictures are (256 of 256x128)"),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="open the folders that somebody else's run names")
    ] = False,
    licence: Annotated[str, typer.Option(help="of the weights, for the card")] = "",
) -> None:
    """Write a model for others: ONNX, TorchScript, or a sparse file as small as on the wire.

    onnx and torchscript take RGB pictures from 0 to 1, (N,3,H,W), and give unit features. What no
    client's mask keeps is zero. The file is held against torch before it is written.

    Example: fedklpr export runs/latest --format onnx
    """
    model = open_model(run, client, height, trust=trust)
    path = out or _usual_path(run, kind, client)
    if run.is_file() and path.resolve() == run.resolve():
        raise SettingsError(f"{path} is the model itself: name another file by --out")
    shipped = ship(model, kind.value, path, _pictures(model, run, client, check))
    shipped = replace(_with_run(shipped, model, run, client), licence=licence)
    card = path.with_name(path.name + ".md")
    write_atomically(card, model_card(shipped).encode())
    near = shipped.checked.difference
    told = "not checked: onnxruntime is not installed" if near is None else f"within {near:.1e}"
    on = f"of torch on {shipped.checked.pictures}" if near is not None else ""
    if model.remark:
        print(printable(model.remark), file=sys.stderr)
    print(f"{model.name}\n{path} ({path.stat().st_size / 1e6:.2f} MB), {told} {on}\n{card}")


def _usual_path(run: Path, kind: Format, client: str | None) -> Path:
    suffix = SUFFIXES[kind.value]
    if run.is_file():
        return run.with_suffix(suffix)
    return run / "export" / f"{client or 'merged'}{suffix}"


def _with_run(shipped: Shipped, model: PictureModel, run: Path, client: str | None) -> Shipped:
    """The same, with what the run folder tells."""
    if not run.is_dir():
        return replace(shipped, name=run.name)
    told = read_run_report(run)
    last = told.summaries[-1].round if told.summaries else 0
    rows = [row for row in told.rows if row.client is not None and row.round == last]
    whose = f"{client}'s model" if client else "merged model"
    return replace(
        shipped,
        name=f"Person re-identification: {whose} of {told.name}",
        client=client,
        settings=model.settings,
        rows=rows,
        round=last,
    )


def _pictures(model: PictureModel, run: Path, client: str | None, check: Path | None) -> Pictures:
    """Pictures to check an export on: as asked, else of the run's sites, else of random numbers."""
    size = model.architecture
    if check is not None:
        rows = searched_rows(open_tree("folder", check))
        found = _of_files([PersonImage(row.path, -1, 0) for row in rows], size, check.name)
        if found is None:
            raise DataError(
                f"--check {check}: expected a folder of pictures that the card's lines read as the "
                f"package does (8 bits, sRGB or an RGB profile), found none among {len(rows)}"
            )
        return found
    sites = model.settings.data.clients if run.is_dir() and not model.settings.deployment else ()
    for one in sites:
        if client not in (None, one.name):
            continue
        try:
            site = open_site(one, model.settings, user_cache())
        except FedKlprError:
            continue  # its pictures are elsewhere
        if site.source is not None:
            lists, gone = site.source.dataset.lists, site.source.unreadable
            for part in reversed(lists.values()):
                there = [image for image in part if image.box is None and image.path not in gone]
                if found := _of_files(there, size, one.name):
                    return found
        for held in (site.gallery, site.query, site.train):
            if len(held):
                count = min(_CHECKED, len(held))
                chosen = held.pixels[:: max(1, len(held) // count)][:count]
                return Pictures(chosen, f"{counted(count, 'picture')} of {one.name}")
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (_CHECKED, 3, size.height, size.width), np.uint8)
    return Pictures(torch.from_numpy(noise), f"{_CHECKED} pictures of random numbers")


def _of_files(images: Sequence[PersonImage], size: Architecture, whose: str) -> Pictures | None:
    """Some pictures, read by the card's lines, too; those that they read otherwise are left out."""
    chosen = images[:: max(1, len(images) // _CHECKED)][:_CHECKED]
    otherwise = {image.path: why for image in chosen if (why := beyond(image.path))}
    alike = [image for image in chosen if image.path not in otherwise]
    if not alike:
        return None
    pixels, _ = load_pictures(alike, height=size.height, width=size.width, cache=None)
    words = f"{counted(len(pixels), 'picture')} of {whose}, read by the lines below"
    for path, why in list(otherwise.items())[:1]:
        words += f", without {len(otherwise)} that they read otherwise ({path.name}: {why})"
    return Pictures(pixels, words, tuple(image.path for image in alike))

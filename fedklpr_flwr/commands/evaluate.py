"""`fedklpr evaluate`: a model on its own sites, across them, or on a set that took no part."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.federation.evaluation import (
    Evaluation,
    evaluate_across,
    evaluate_site,
    evaluate_splits,
)
from fedklpr_flwr.federation.method import Client
from fedklpr_flwr.federation.site import open_site
from fedklpr_flwr.runtime.places import user_cache
from fedklpr_flwr.runtime.trained_model import TrainedModel, load_trained_model


def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    client: Annotated[str | None, typer.Option(help="through this client's mask")] = None,
    across: Annotated[bool, typer.Option(help="search among the pictures of all sites")] = False,
    data: Annotated[str | None, typer.Option(help="a reader: viper, folder, ...")] = None,
    root: Annotated[Path | None, typer.Option(help="that set's folder")] = None,
    splits: Annotated[int, typer.Option(help="mean over this many seeded splits")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Evaluate a run's model: on its sites, across them, or on another set.

    Example: fedklpr evaluate runs/latest --across
    """
    model = load_trained_model(run, client)
    if data is not None:
        results = [_on_another_set(model, data, root, splits)]
    else:
        sites = [open_site(c, model.settings, user_cache()) for c in model.settings.data.clients]
        if across:
            results = evaluate_across(model.network, sites)
        else:
            results = [evaluate_site(model.network, p) for s in sites for p in s.parts or (s,)]
    if as_json:
        print(json.dumps([result.to_dict() for result in results], indent=1))
    else:
        print("\n".join(_lines(results)))


def _on_another_set(model: TrainedModel, data: str, root: Path | None, splits: int) -> Evaluation:
    if root is None and not data.startswith("drawn:"):
        raise SettingsError(f"--data {data} needs --root: the folder of the set")
    folder = str(root.expanduser().resolve()) if root else None
    identity = Client(name=data, reader=data, folder=folder)
    if splits == 1:
        return evaluate_site(model.network, open_site(identity, model.settings, user_cache()))
    return evaluate_splits(
        model.network,
        lambda number: open_site(identity, replace(model.settings, seed=number), user_cache()),
        splits,
    )


def _lines(results: list[Evaluation]) -> list[str]:
    width = max(len(result.name) for result in results)
    lines = [f"{'':{width}}  Rank-1  Rank-5 Rank-10     mAP    mINP  queries"]
    for result in results:
        scores = result.scores
        cells = (scores.rank1, scores.rank5, scores.rank10, scores.map, scores.minp)
        numbers = " ".join(f"{value:7.3f}" for value in cells)
        lines.append(f"{result.name:{width}} {numbers} {scores.queries:8d}")
    return lines

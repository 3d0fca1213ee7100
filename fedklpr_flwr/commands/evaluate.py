"""`fedklpr evaluate`: a run's models on their own sites, across them, or on another set."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from fedklpr_flwr.commands.progress_bars import counting, tracked
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.data.benchmarks import CARDS
from fedklpr_flwr.errors import DataError, SettingsError
from fedklpr_flwr.model.evaluation import (
    Evaluation,
    How,
    evaluate_across,
    evaluate_site,
    evaluate_splits,
    nothing_to_rank,
)
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.site import Site, open_site
from fedklpr_flwr.protocol.figures import SCORES
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.runs.opened_model import PictureModel, open_model
from fedklpr_flwr.runs.trained_models import TrainedRun, open_run
from fedklpr_flwr.system.paths import user_cache
from fedklpr_flwr.system.plain_text import printable


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for."""

    client: str | None
    merged: bool
    final: bool
    across: bool
    data: str | None
    root: Path | None
    splits: int | None
    reestimate: bool
    how: How
    height: int | None = None


def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder, or with --data a file of weights")],
    client: Annotated[str | None, typer.Option(help="this client's model alone")] = None,
    merged: Annotated[bool, typer.Option("--global", help="the merged model itself")] = False,
    final: Annotated[
        bool, typer.Option("--final", help="models after training.final_epochs")
    ] = False,
    across: Annotated[
        bool, typer.Option("--across", help="search among the pictures of all sites")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="on a set that took no part: viper, folder, ...")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="that set's folder")] = None,
    splits: Annotated[
        int | None, typer.Option(help="mean over this many seeded splits of that set")
    ] = None,
    reestimate: Annotated[
        bool, typer.Option("--reestimate", help="batch norm from that set's training pictures")
    ] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="re-rank by k-reciprocal neighbours (20, 6, 0.3)")
    ] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="mean of each picture's and its mirror image's feature")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="open the folders that somebody else's run names")
    ] = False,
    camera_norm: Annotated[
        bool,
        typer.Option("--camera-norm", help="beside it Rank-1 with each camera's look taken out"),
    ] = False,
    height: Annotated[
        int | None, typer.Option(min=32, help="of weights: how high their pictures are, 256 or 128")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Search every site with its own model: the merged one through its mask, with its own parts.

    Those are the scores in the last rows of run.jsonl. With --global the merged model itself is
    searched with, and with --data it is looked at on pictures of a site that took no part. So is
    a file: what fedklpr export wrote as safetensors, a global.safetensors, or other weights.

    Example: fedklpr evaluate runs/latest --across
    """
    how = How(flip, rerank, camera_norm)
    asked = _Asked(client, merged, final, across, data, root, splits, reestimate, how, height)
    _check(asked)
    if run.is_file():
        title, results = _with_a_file(run, asked)
    else:
        trained = open_run(run, trust=trust)
        results = _on_set(trained, asked) if data else _on_own_sites(trained, asked)
        title = _title(trained, asked)
    if all(result.scores is None for result in results):
        raise nothing_to_rank(results[-1].name)
    told = json.dumps([_told(result, asked.how) for result in results], indent=1)
    print(told if as_json else "\n".join([title + _manner(asked.how), *_lines(results)]))


def _check(asked: _Asked) -> None:
    """Refuse options that mean nothing together."""
    alone = {"--root": asked.root, "--splits": asked.splits, "--reestimate": asked.reestimate}
    for option, value in alone.items():
        if asked.data is None and value not in (None, False):
            raise SettingsError(f"{option} says something of another set: name that set by --data")
    if asked.data is not None and asked.across:
        raise SettingsError("--across is among the run's own sites: leave --data out")
    if asked.data is not None and asked.merged:
        raise SettingsError("--data searches with the merged model anyhow: leave --global out")
    if asked.data is not None and asked.final and asked.client is None:
        raise SettingsError("--final with --data needs --client: every client has its own model")
    if asked.merged and asked.final:
        raise SettingsError("--global is the merged model, --final is each client's own: choose")
    if asked.height is not None and asked.data is None:
        raise SettingsError(f"--height {asked.height} is of a file of weights, with --data")
    if asked.splits is not None and asked.splits < 1:
        raise SettingsError(f"--splits {asked.splits}: expected a whole number of at least 1")
    if asked.data and asked.root is None and not asked.data.startswith("drawn:"):
        raise SettingsError(f"--data {asked.data} needs --root: the folder of the set")


# ---------------------------------------------------------------------------- own sites


def _on_own_sites(trained: TrainedRun, asked: _Asked) -> list[Evaluation]:
    chosen = _chosen(trained, asked.client)
    if not asked.across:
        opened = ((_open(trained, one), one.name) for one in _tracked(chosen))
        return [
            found
            for site, name in opened
            for found in evaluate_site(_model(trained, asked, name, site), site, asked.how)
        ]
    clients = trained.settings.data.clients
    sites = {one.name: _open(trained, one) for one in tracked("opening", clients, len(clients))}
    every = [part for site in sites.values() for part in site.parts or (site,)]
    return evaluate_across(_searchers(trained, asked, chosen, sites), every, asked.how)


def _searchers(
    trained: TrainedRun, asked: _Asked, chosen: list[Client], sites: dict[str, Site]
) -> Iterator[tuple[ReidNetwork, Site]]:
    merged = trained.merged() if asked.merged else None
    for one in _tracked(chosen):
        site = sites[one.name]
        network = merged or _model(trained, asked, one.name, site)
        for part in site.parts or (site,):
            yield network, part


def _tracked(clients: list[Client]) -> Iterable[Client]:
    return tracked("evaluating", clients, len(clients))


def _chosen(trained: TrainedRun, client: str | None) -> list[Client]:
    clients = list(trained.settings.data.clients)
    if client is None:
        return clients
    found = [one for one in clients if one.name == client]
    if not found:
        raise SettingsError(
            f"--client {client}: {trained.path} has {', '.join(one.name for one in clients)}"
        )
    return found


def _model(trained: TrainedRun, asked: _Asked, client: str, site: Site) -> ReidNetwork:
    if asked.merged:
        return trained.merged()
    return trained.final(client) if asked.final else trained.personal(client, site)


def _open(trained: TrainedRun, client: Client) -> Site:
    return open_site(client, trained.settings, user_cache())


# ---------------------------------------------------------------------------- another set


def _on_set(trained: TrainedRun, asked: _Asked) -> list[Evaluation]:
    return _on_another_set(
        trained.settings, asked, lambda site: _model_elsewhere(trained, asked, site)
    )


def _with_a_file(path: Path, asked: _Asked) -> tuple[str, list[Evaluation]]:
    """The model of a file on another set, and what it is in words."""
    words = {"--client": asked.client, "--global": asked.merged, "--final": asked.final}
    for option, value in words.items():
        if value:
            raise SettingsError(
                f"{option} chooses among a run's models, {path} is one: leave it out"
            )
    model: PictureModel = open_model(path, height=asked.height)
    if asked.data is None:
        raise SettingsError(f"{path} is a model without its sites: say by --data what it searches")
    if model.remark:
        print(printable(model.remark), file=sys.stderr)
    return model.name, _on_another_set(model.settings, asked, lambda site: model.network)


def _on_another_set(
    settings: Settings, asked: _Asked, model_for: Callable[[Site], ReidNetwork]
) -> list[Evaluation]:
    data = str(asked.data)
    folder = str(asked.root.expanduser().resolve()) if asked.root else None
    identity = Client(name=data, reader=data, folder=folder)

    def site_of(seed: int) -> Site:
        return open_site(identity, replace(settings, seed=seed), user_cache())

    site = site_of(settings.seed)
    for note in site.source.left_out_notes if site.source else ():
        print(f"{site.name}: {note}", file=sys.stderr)
    splits = _splits(settings, asked, site)
    network = model_for(site)
    if asked.reestimate:
        if len(site.train) < 2:
            raise DataError(f"--reestimate needs training pictures, and {site.name} has none")
        reestimate_on(network, site)
    if splits == 1:
        return evaluate_site(network, site, asked.how)
    with counting("splits") as told:

        def told_of(seed: int) -> Site:
            told(seed, splits)
            return site_of(seed)

        return [evaluate_splits(network, told_of, splits, asked.how)]


def _model_elsewhere(trained: TrainedRun, asked: _Asked, site: Site) -> ReidNetwork:
    """The merged model, or one client's; a client that is elsewhere has these pictures."""
    if asked.client is None:
        return trained.merged()
    here = [one for one in trained.settings.data.clients if one.name == asked.client]
    if not here and asked.client not in trained.state.clients:
        _chosen(trained, asked.client)
    own = _open(trained, here[0]) if here else site
    return _model(trained, asked, asked.client, own)


def _splits(settings: Settings, asked: _Asked, site: Site) -> int:
    """How many splits the mean is over: as asked, or as the set's protocol says."""
    data = str(asked.data)
    seeded = site.source is not None and site.source.dataset.split_seed is not None
    took_part = any(one.reader == data for one in settings.data.sites)
    if asked.splits is None:
        return CARDS[data].splits if seeded and not took_part else 1
    if asked.splits > 1 and not seeded:
        raise SettingsError(f"--splits {asked.splits}: {data} brings its one split: leave it out")
    if asked.splits > 1 and took_part:
        raise SettingsError(
            f"--splits {asked.splits}: the run trained on {data}, so persons of other splits' test "
            "sets were trained on; leave it out, or run once for every seed"
        )
    return asked.splits


# ---------------------------------------------------------------------------- what is printed


def _title(trained: TrainedRun, asked: _Asked) -> str:
    last = trained.state.round
    models = "each site's own model"
    if asked.client and not asked.merged:
        models = f"{asked.client}'s own model"
    elif asked.merged or asked.data:
        models = "the merged model"
    if asked.final:
        models += " after the final training"
    moment = f"after round {last}" if last else "round 0, nothing trained yet"
    return f"{trained.path}, {moment}: {models}"


def _manner(how: How) -> str:
    return ", flip test" * how.flip + ", re-ranked" * how.rerank


def _told(result: Evaluation, how: How) -> dict[str, object]:
    """A result as JSON; what it was searched by beside the usual is said."""
    return result.to_dict() | {key: True for key, value in vars(how).items() if value}


def _lines(results: list[Evaluation]) -> list[str]:
    width = max(len(result.name) for result in results)
    lines = [f"{'':{width}}  Rank-1  Rank-5 Rank-10     mAP    mINP  queries"]
    for result in results:
        scores = result.scores
        cells = [*scores.accuracies.values()] if scores else [None] * len(SCORES)
        numbers = " ".join("      -" if cell is None else f"{cell:7.3f}" for cell in cells)
        lines.append(f"{result.name:{width}} {numbers} {scores.queries if scores else 0:8d}")
    lines += [
        f"{result.name}: Rank-1 {result.rank1_camera:.3f} with each camera's mean and spread in "
        "the gallery taken out of its features"
        for result in results
        if result.rank1_camera is not None
    ]
    lines += [
        f"{result.name}: {result.left_out} queries left out, whose persons no other camera has in "
        "the gallery"
        for result in results
        if result.left_out
    ]
    return lines

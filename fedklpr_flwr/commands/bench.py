"""`fedklpr bench`: figures beside the anchors that the same run measures."""

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from fedklpr_flwr.errors import RunError, SettingsError

_CHECKOUT = Path(__file__).resolve().parents[2]


class Benchmark(StrEnum):
    """The benchmarks of experiments/benchmarks."""

    WIRE = "wire"
    MERGE = "merge"
    RANKING = "ranking"
    CLUSTERS = "clusters"
    TRAIN = "train"
    STARTUP = "startup"
    LOADING = "loading"
    SCALE = "scale"
    SEARCH = "search"


def bench(
    name: Annotated[Benchmark, typer.Argument(help="what is measured")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the rows to this file")
    ] = None,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="train and cache the model; without --json measure nothing"),
    ] = False,
    pictures: Annotated[
        list[int] | None,
        typer.Option(
            "--pictures", min=10, help="clusters alone, at this size; may be given several times"
        ),
    ] = None,
    crowded: Annotated[
        bool, typer.Option("--crowded", help="with --pictures: persons overlap, as real ones do")
    ] = False,
) -> None:
    """Run one benchmark of a checkout and print its table.

    Example: fedklpr bench ranking --json ranking.json
    """
    if (pictures or crowded) and name is not Benchmark.CLUSTERS:
        raise SettingsError(f"--pictures and --crowded are for clusters, got {name}")
    if crowded and not pictures:
        raise SettingsError("--crowded needs --pictures N: `clusters` alone measures both kinds")
    suite = _suite(_CHECKOUT)
    if prepare:
        if name not in (Benchmark.WIRE, Benchmark.MERGE):
            raise SettingsError(f"--prepare is for wire and merge; {name} needs no trained model")
        model = suite.prepare_model()
        print(f"trained ResNet-50, seed {model.seed}, sha256 {model.sha256}")
    if pictures:
        sizes = suite.clusters_by_hand(pictures, crowded=crowded)
        suite.measure(tuple(sizes), json_file=json_file, among=sizes)
    elif not prepare or json_file is not None:
        suite.measure((name.value,), json_file=json_file)


def _suite(checkout: Path) -> ModuleType:
    """The benchmarks, which lie beside the package and are not part of it.

    Raises:
        RunError: they do not lie there.
    """
    place = checkout / "experiments" / "benchmarks"
    if not (place / "suite.py").is_file():
        raise RunError(
            f"fedklpr bench needs a checkout: expected the folder {place} beside the package, "
            "there is none; clone the repository and `make install` there"
        )
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    return importlib.import_module("experiments.benchmarks.suite")

"""`fedklpr list`: the experiments, methods and readers there are, each with a line about it."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedklpr_flwr.config.compose import configuration_folder
from fedklpr_flwr.data.benchmarks import CARDS


class Kind(StrEnum):
    """What can be listed."""

    EXPERIMENTS = "experiments"
    METHODS = "methods"
    READERS = "readers"


def list_names(
    what: Annotated[Kind | None, typer.Argument(help="one kind alone; default: all")] = None,
) -> None:
    """List what there is to choose from: experiment=NAME, method=NAME, and readers of pictures.

    Example: fedklpr list experiments
    """
    console = Console()
    for kind in (what,) if what else Kind:
        console.print(f"{kind}, {_HOW[kind]}", style="bold", highlight=False)
        shown = Table.grid(padding=(0, 2))
        shown.add_column(no_wrap=True)
        shown.add_column()
        for name, words in _LISTS[kind]().items():
            shown.add_row(f"  {name}", words)
        console.print(shown)
        console.print()


def _experiments() -> Mapping[str, str]:
    return _first_comments("experiment")


def _methods() -> Mapping[str, str]:
    return _first_comments("method")


def _readers() -> Mapping[str, str]:
    """Each reader with the first sentence of its card."""
    return {name: _first_sentence(card.words.split()) for name, card in CARDS.items()}


_LISTS: dict[Kind, Callable[[], Mapping[str, str]]] = {
    Kind.EXPERIMENTS: _experiments,
    Kind.METHODS: _methods,
    Kind.READERS: _readers,
}

_HOW = {
    Kind.EXPERIMENTS: "fedklpr run experiment=NAME",
    Kind.METHODS: "fedklpr run method=NAME",
    Kind.READERS: "fedklpr data check NAME FOLDER, data.clients=[{name: ..., reader: NAME, ...}]",
}


def _first_comments(group: str) -> dict[str, str]:
    """What each file of a group of conf/ says of itself in the first sentence of its comments."""
    found = {}
    for file in sorted((configuration_folder() / group).glob("*.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        said = [line for line in lines if line.startswith("# ") and "@package" not in line]
        found[file.stem] = _first_sentence([w for line in said for w in line[2:].split()])
    return found


def _first_sentence(words: Sequence[str]) -> str:
    return " ".join(words).partition(". ")[0].rstrip(".")

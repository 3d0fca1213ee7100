"""An experiment that changes a method's own choices is of that method alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fedklpr_flwr.errors import SettingsError

_USUAL = "fedklpr"


def check_method(folder: Path, experiment: str, overrides: Sequence[str]) -> None:
    """Refuse another method with an experiment that changes FedKLPR's own choices.

    The experiment has the last word over the method's file: FedAvg without KLAW would be called
    fedavg, and weigh by the pruning.

    Args:
        folder: conf/experiment.
        experiment: a name in it.
        overrides: the command line's words.

    Raises:
        SettingsError: the method, the keys that the experiment changes, and what to do.
    """
    named = [
        word.partition("=")[2].strip("'\"") for word in overrides if word.startswith("method=")
    ]
    if not named:
        return
    keys, own, above = _of_method(folder, experiment)
    if keys and named[-1] != own:
        changed = ", ".join(f"method.{key}" for key in keys)
        raise SettingsError(
            f"method={named[-1]} with experiment={experiment}, which is {own} with another "
            f"{changed}: the run would be neither; leave method out, or take experiment={above}"
        )


def _of_method(folder: Path, experiment: str) -> tuple[list[str], str, str]:
    """What a file and those it builds on change of a method, which, and the first that does not."""
    file = yaml.safe_load((folder / f"{experiment}.yaml").read_text(encoding="utf-8"))
    keys, own, above = list(file.get("method") or {}), _USUAL, experiment
    for entry in file.get("defaults") or ():
        own = _chosen(entry) or own
        if isinstance(entry, str) and (folder / f"{entry}.yaml").is_file():
            below, own, root = _of_method(folder, entry)
            keys, above = [*below, *keys], root if below else entry
    return keys, own, above


def _chosen(entry: Any) -> str | None:
    """The method that a line of a defaults list chooses."""
    found = entry.get("override /method") if isinstance(entry, dict) else None
    return None if found is None else str(found)

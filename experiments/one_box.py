"""What experiments with one real box on loopback share: its settings, and a run a case."""

import json
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Case = TypeVar("Case")
Found = TypeVar("Found", bound="DataclassInstance")

CLIENT = "gate"
"""The name of the one client."""

ONE_BOX = (
    "experiment=smoke",
    f"data.clients=[{{name: {CLIENT}, reader: folder, folder: null}}]",
    "model.weights=null",
    "labels.source=identities",
    "training.max_batches=1",
    "training.pictures=4",
    "training.device=cpu",
    "federation.min_clients=1",
    "report.wandb=off",
)
"""A client of few pictures that trains on one batch a round: box and line show, not learning."""


def measure_all(cases: Iterable[Case], measure: Callable[[Case, Path], Found]) -> list[Found]:
    """Measure case by case, each in an empty folder of its own, and print each as it comes.

    Args:
        cases: what is measured.
        measure: gets a case and the absolute folder.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended then, too
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="one-box-") as folder:
            found.append(measure(case, Path(folder)))
        print(found[-1], flush=True)
    return found


def show(found: Sequence[Found], table: Iterable[str], file: Path | None) -> None:
    """Print the table's lines, and write the figures as JSON where a file is named."""
    print("\n".join(["", *table]))
    if file:
        file.write_text(json.dumps([asdict(item) for item in found], indent=1) + "\n")

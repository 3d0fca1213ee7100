"""All benchmarks by name, and what becomes of their rows."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from experiments.benchmarks.changes import change_rows
from experiments.benchmarks.clusters import clusters_rows, rows_by_hand
from experiments.benchmarks.loading import loading_rows
from experiments.benchmarks.merge import merge_rows
from experiments.benchmarks.ranking import ranking_rows
from experiments.benchmarks.rows import Row, table_lines, write_rows
from experiments.benchmarks.scale import scale_rows
from experiments.benchmarks.search import search_rows
from experiments.benchmarks.startup import startup_rows
from experiments.benchmarks.train import train_rows
from experiments.benchmarks.trained_model import TrainedModel, prepared_model
from experiments.benchmarks.wire import wire_rows


def _on_trained_model(measure: Callable[..., list[Row]]) -> list[Row]:
    model = prepared_model()
    return model.marked(measure(model.tensors, model.prunable))


Benchmarks = Mapping[str, Callable[[], list[Row]]]

BENCHMARKS: Benchmarks = {
    "wire": lambda: _on_trained_model(
        lambda tensors, names: [*wire_rows(tensors, names), *change_rows(tensors)]
    ),
    "merge": lambda: _on_trained_model(merge_rows),
    "ranking": ranking_rows,
    "clusters": clusters_rows,
    "train": train_rows,
    "startup": startup_rows,
    "loading": loading_rows,
    "scale": scale_rows,
    "search": search_rows,
}

IN_ALL = ("wire", "merge", "ranking", "clusters", "train", "startup", "loading", "search")
"""Those that `make bench` runs; `scale` is a federation of its own."""


def prepare_model() -> TrainedModel:
    """Train the ResNet-50 of wire and merge, where the cache does not have it."""
    return prepared_model()


def clusters_by_hand(pictures: Sequence[int], *, crowded: bool = False) -> Benchmarks:
    """The benchmark `clusters` at other sizes, ascending, without the dense algorithm.

    Args:
        pictures: the sizes.
        crowded: persons overlap, as real ones do.
    """
    kind = "crowded" if crowded else "separated"
    return {
        f"clusters of {count} pictures, {kind}": partial(rows_by_hand, count, kind)
        for count in sorted(pictures)
    }


def measure(
    names: Sequence[str] = IN_ALL,
    *,
    json_file: Path | None = None,
    among: Benchmarks = BENCHMARKS,
) -> list[Row]:
    """Run benchmarks one after the other, print their table, and write their rows.

    Args:
        names: of `among`.
        json_file: gets all rows, rewritten after each benchmark; None writes nothing.
        among: benchmarks by name.
    """
    rows: list[Row] = []
    began = time.monotonic()
    for number, name in enumerate(names, start=1):
        print(f"{name}: measuring, {number} of {len(names)}", file=sys.stderr, flush=True)
        rows += among[name]()
        if json_file is not None:
            write_rows(rows, json_file)
        taken, left = time.monotonic() - began, len(names) - number
        rest = f", about {taken / number * left / 60:.0f} min left" if left else ""
        print(f"{name}: measured{rest}", file=sys.stderr, flush=True)
    print("\n".join(table_lines(rows)))
    return rows

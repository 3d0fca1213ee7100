"""How fast, and in how little memory, the server merges: against Flower's own aggregation."""

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from os import cpu_count
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from experiments.benchmarks.merge_checks import are_means, are_right
from experiments.benchmarks.round_files import (
    CLIENTS,
    WIRES,
    Arrays,
    Update,
    arrivals_of,
    drawn_updates,
    write_round,
)
from experiments.benchmarks.rows import Kept, Row, make_row, median_seconds
from experiments.benchmarks.server_memory import memory_rows
from fedklpr_flwr.algorithm.merge.accumulate import Contributor, merge_model
from fedklpr_flwr.algorithm.merge.contribution import Contribution
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.server.merge_round import Arrival, run_merge_round
from fedklpr_flwr.server.update_checks import Inspection, inspect_update
from fedklpr_flwr.wire.layout import Layout, layout_of

Given = tuple[float, np.ndarray | None, np.ndarray]
"""A weight, a mask and values."""

MUSTS = {"merge_over_flower": 0.30, "decode_merge_over_flower": 2.0}


def merge_rows(
    tensors: Arrays,
    prunable_names: Collection[str],
    *,
    repeats: int = 5,
    clients: Sequence[int] = (8, 64, 256),
) -> list[Row]:
    """Measure the rows `merge` of the benchmarks on one model.

    The times are held against Flower's aggregate_arrayrecords of the same updates, dense:

    `merge_over_flower`: the weighted mean alone, of updates that lie decoded in memory, whole and
    with their masks; `merge_survivors_over_flower`: the same of only what survived, as the wire
    decodes it.
    `inspect_over_flower`: what the server does with each update on its arrival, one after the
    other (`inspect_update`): it decodes all of it once, checks it and counts its bound.
    `decode_merge_over_flower`: the merge once all are there, from payload files: it decodes all of
    them a second time, on all cores; `decode_merge_plain_over_flower`: the same of payloads that
    are not differences to the model. A server spends inspect and decode_merge on a round; it
    inspects while it waits for the others.

    A row is `ok` only where its own result is the formula's, an inspection's where it found the
    masks that were sent. The rows of memory are told in server_memory.py.

    Args:
        tensors: name -> float32 array, a trained model, dense.
        prunable_names: the tensors that are pruned.
        repeats: timings taken, the median counts.
        clients: how many clients the memory is measured with, ascending.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    tensors = dict(sorted(tensors.items()))  # the order in which a file gives them back
    updates = list(drawn_updates(tensors, prunable_names))
    with tempfile.TemporaryDirectory(prefix="fedklpr-bench-") as folder:
        write_round(Path(folder), tensors, prunable_names, updates)
        rows = time_rows(Path(folder), tensors, prunable_names, updates, repeats)
        del updates
        return rows + memory_rows(folder, clients)


def time_rows(
    folder: Path,
    tensors: Arrays,
    names: Collection[str],
    updates: Sequence[Update],
    repeats: int,
) -> list[Row]:
    """Measure the rows that are times, from a folder that `write_round` has filled."""
    layout = layout_of(tensors, names)
    chosen = {kind: compose_settings("drawn", WIRES[kind]) for kind in ("delta", "plain")}
    arrived = {kind: arrivals_of(folder, CLIENTS, kind) for kind in chosen}
    inspect = Kept(partial(_inspections, arrived["delta"], tensors, layout, chosen["delta"]))
    delta, plain = (
        Kept(partial(run_merge_round, tensors, tensors, arrived[kind], layout, chosen[kind]))
        for kind in chosen
    )
    delta()
    weights = list(delta.result[1].weight.values())
    whole, survivors = {}, {}
    for name in tensors:
        whole[name] = _decoded(name, updates, weights)
        survivors[name] = [(w, m, v if m is None else v[m]) for w, m, v in whole[name]]
    merge, sparse = (
        Kept(partial(merge_model, tensors, _contributors(of), threads=cpu_count() or 1))
        for of in (whole, survivors)
    )
    records = [_record(values, number) for number, (values, _) in enumerate(updates)]
    flower = partial(aggregate_arrayrecords, records, "num-examples")
    works = {
        "merge_over_flower": merge,
        "merge_survivors_over_flower": sparse,
        "inspect_over_flower": inspect,
        "decode_merge_over_flower": delta,
        "decode_merge_plain_over_flower": plain,
    }
    *seconds, anchor = median_seconds(repeats, *works.values(), flower)
    merged = [merge.result, sparse.result, delta.result[0], plain.result[0]]
    means = are_means(merged, tensors, updates, weights)
    equal = [*means[:2], are_right(inspect.result, updates), *means[2:]]
    return [
        make_row(name, taken, "s", anchor, MUSTS.get(name), equal=right)
        for name, taken, right in zip(works, seconds, equal, strict=True)
    ]


def _inspections(
    arrivals: Sequence[Arrival], tensors: Arrays, layout: Layout, settings: Settings
) -> list[Inspection]:
    """Each update as the server looks at it on arrival."""
    return [
        inspect_update(arrival.payload, layout, arrival.known_masks, tensors, settings)
        for arrival in arrivals
    ]


def _contributors(
    of: Mapping[str, list[Given]],
) -> Callable[[str], list[Contributor]]:
    return lambda name: [partial(Contribution.of, *given) for given in of[name]]


def _decoded(name: str, updates: Sequence[Update], weights: Sequence[float]) -> list[Given]:
    """One tensor of all clients, whole, zero under the mask."""
    return [
        (weight, masks.get(name), values[name])
        for (values, masks), weight in zip(updates, weights, strict=True)
    ]


def _record(values: Arrays, number: int) -> RecordDict:
    """A client's reply as Flower's own strategies read it."""
    arrays = ArrayRecord({name: Array(array) for name, array in values.items()})
    return RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 100 + number})})

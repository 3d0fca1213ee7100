"""How fast, and in how little memory, the server merges: against Flower's own aggregation."""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from os import cpu_count
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from safetensors.numpy import load_file, save_file

from experiments.benchmarks.memory import in_fresh_process, peak_mb, resident_mb
from experiments.benchmarks.pruned import masks_before, prune
from experiments.benchmarks.rows import Row, make_row, median_seconds, value_at_most
from fedklpr_flwr.algorithm.merging import Contribution, Contributor, merge_model
from fedklpr_flwr.algorithm.update import TrainingReport
from fedklpr_flwr.compiled import WORTH_COMPILING
from fedklpr_flwr.federation.mask_file import MaskFile, masks_to_bytes
from fedklpr_flwr.federation.merge_round import Arrival, run_merge_round
from fedklpr_flwr.federation.update_coding import encode_update
from fedklpr_flwr.settings import compose_settings
from fedklpr_flwr.wire.layout import Layout, layout_of

Arrays = Mapping[str, np.ndarray]

CLIENTS = 8  # different updates; where more clients merge, these come again
PRUNED = 0.5
NOISE = 0.3  # how far clients stand apart, of a tensor's own deviation
ROUNDING = 1e-6  # largest difference to the plain formula, of the coordinates' mean magnitude
SERVER_MODELS, GROWTH = 3, 1.1
WIRES: dict[str, tuple[str, ...]] = {"delta": (), "plain": ("wire.delta=false",)}
_MODEL = "model.safetensors"


Update = tuple[Arrays, Arrays]
"""A client's tensors, zero where pruned, and its masks."""


def merge_rows(
    tensors: Arrays,
    prunable_names: Collection[str],
    *,
    repeats: int = 5,
    clients: Sequence[int] = (8, 64, 256),
) -> list[Row]:
    """Measure the rows `merge` of the benchmarks on one model.

    The times are held against Flower's aggregate_arrayrecords of the same updates, dense:
    `merge_over_flower` has them decoded in memory, whole and with their masks;
    `merge_survivors_over_flower` has only what survived, as the wire decodes it;
    `decode_merge_over_flower` is the server's whole merge from payload files, and
    `decode_merge_plain_over_flower` the same of payloads that are not differences to the model.
    `server_models_N` is the server's resident memory while it merges N clients, less what it has
    before it holds any model, in models, less one; `compiled_loops_mb` what numba takes of the
    memory before, once and whatever the model.

    Args:
        tensors: name -> float32 array, a trained model, dense.
        prunable_names: the tensors that are pruned.
        repeats: timings taken, the median counts.
        clients: how many clients the memory is measured with, ascending.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    tensors = dict(sorted(tensors.items()))  # the order in which a file gives them back
    updates = list(_updates(tensors, prunable_names))
    with tempfile.TemporaryDirectory(prefix="fedklpr-bench-") as folder:
        _write_round(Path(folder), tensors, prunable_names, updates)
        rows = _times(Path(folder), tensors, prunable_names, updates, repeats)
        del updates
        model_mb = sum(array.nbytes for array in tensors.values()) / 1e6
        loops_mb = in_fresh_process(compiled_loops_mb)
        rows.append(make_row("compiled_loops_mb", loops_mb, "MB", model_mb))
        models = [in_fresh_process(server_models, folder, count) for count in clients]
    for count, held in zip(clients, models, strict=True):
        must = SERVER_MODELS
        rows.append(make_row(f"server_models_{count}", held, "models", 1, must, value_at_most))
    if len(clients) > 1:
        name = f"server_models_{clients[-1]}_over_{clients[-2]}"
        rows.append(make_row(name, models[-1] + 1, "models", models[-2] + 1, GROWTH))
    return rows


def compiled_loops_mb() -> float:
    """What the compiled loops take of a process's memory, in MB; 0 without numba."""
    before = resident_mb()
    array = np.ones(WORTH_COMPILING, np.float32)
    merge_model({"w": array}, lambda name: [lambda: (1.0, None, array)])
    return resident_mb() - before - array.nbytes / 1e6


def server_models(folder: str, clients: int) -> float:
    """Merge so many clients from the files of a folder; the models held at the peak, less one."""
    settings = compose_settings("drawn", WIRES["delta"])
    compiled_loops_mb()  # code, which is no model
    before = resident_mb()
    previous = dict(sorted(load_file(Path(folder) / _MODEL).items()))
    arrivals = _arrivals(Path(folder), clients, "delta")
    layout = _layout(Path(folder), previous)
    peak = peak_mb(partial(run_merge_round, previous, previous, arrivals, layout, settings))
    model = sum(array.nbytes for array in previous.values()) / 1e6
    return (peak - before) / model - 1


def _updates(tensors: Arrays, names: Collection[str]) -> Iterator[Update]:
    """Different clients of one model: its weights and some noise, each pruned by magnitude."""
    for number in range(CLIENTS):
        generator = np.random.default_rng(number)
        moved = {
            name: array
            + generator.standard_normal(array.shape, np.float32) * np.float32(NOISE * array.std())
            for name, array in tensors.items()
        }
        yield prune(moved, names, PRUNED)


def _write_round(
    folder: Path, tensors: Arrays, names: Collection[str], updates: Sequence[Update]
) -> None:
    """Lay down what a server has: the model, each client's mask before, and its payload."""
    layout = layout_of(tensors, names)
    save_file(dict(tensors), folder / _MODEL)
    (folder / "prunable").write_text("\n".join(names), encoding="utf-8")
    for number, (arrays, bits) in enumerate(updates):
        values, masks, known = (_as_torch(a) for a in (arrays, bits, masks_before(bits)))
        (folder / f"{number}.mask").write_bytes(masks_to_bytes(known))
        for kind, overrides in WIRES.items():
            settings = compose_settings("drawn", overrides)
            payload, _ = encode_update(values, masks, known, tensors, {}, layout, settings)
            (folder / f"{number}.{kind}").write_bytes(payload)


def _as_torch(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _layout(folder: Path, tensors: Arrays) -> Layout:
    return layout_of(tensors, (folder / "prunable").read_text(encoding="utf-8").split())


def _arrivals(folder: Path, clients: int, kind: str) -> list[Arrival]:
    return [
        Arrival(
            f"client-{number:04}",
            _report(number),
            folder / f"{number % CLIENTS}.{kind}",
            MaskFile(folder / f"{number % CLIENTS}.mask"),
        )
        for number in range(clients)
    ]


def _report(number: int) -> TrainingReport:
    return TrainingReport(
        examples=100 + number,
        divergence=0.1 + 0.01 * (number % 7),
        cosine_distance=0.1,
        pruned=PRUNED,
        accuracy=0.5,
        clusters=10,
        outliers=0,
        idle=False,
        crr="pruned",
        loss=1.0,
        kl_loss=0.1,
    )


def _times(
    folder: Path,
    tensors: Arrays,
    names: Collection[str],
    updates: Sequence[Update],
    repeats: int,
) -> list[Row]:
    layout = layout_of(tensors, names)
    delta, plain = (
        partial(
            run_merge_round,
            tensors,
            tensors,
            _arrivals(folder, CLIENTS, kind),
            layout,
            compose_settings("drawn", overrides),
        )
        for kind, overrides in WIRES.items()
    )
    merged, notes = delta()
    weights = list(notes.weight.values())
    decoded, survivors = {}, {}
    for name in tensors:
        decoded[name] = _decoded(name, updates, weights)
        survivors[name] = [(w, m, v if m is None else v[m]) for w, m, v in decoded[name]]
    merge = partial(merge_model, tensors, _contributors(decoded), threads=cpu_count() or 1)
    sparse = partial(merge_model, tensors, _contributors(survivors), threads=cpu_count() or 1)
    right = _is_mean(merge(), updates, weights) and _is_mean(merged, updates, weights)
    records = [_record(values, number) for number, (values, _) in enumerate(updates)]
    flower = partial(aggregate_arrayrecords, records, "num-examples")
    *ours, anchor = median_seconds(repeats, merge, sparse, delta, plain, flower)
    merging, sparsely, decoding, plainly = ours
    return [
        make_row("merge_over_flower", merging, "s", anchor, 0.30, equal=right),
        make_row("merge_survivors_over_flower", sparsely, "s", anchor, equal=right),
        make_row("decode_merge_over_flower", decoding, "s", anchor, 2.0, equal=right),
        make_row("decode_merge_plain_over_flower", plainly, "s", anchor, equal=right),
    ]


def _contributors(
    of: Mapping[str, list[Contribution]],
) -> Callable[[str], list[Contributor]]:
    return lambda name: [partial(tuple, contribution) for contribution in of[name]]


def _decoded(name: str, updates: Sequence[Update], weights: Sequence[float]) -> list[Contribution]:
    """One tensor of all clients, whole, zero under the mask."""
    return [
        (weight, masks.get(name), values[name])
        for (values, masks), weight in zip(updates, weights, strict=True)
    ]


def _record(values: Arrays, number: int) -> RecordDict:
    """A client's reply as Flower's own strategies read it."""
    arrays = ArrayRecord({name: Array(array) for name, array in values.items()})
    return RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 100 + number})})


def _is_mean(merged: Arrays, updates: Sequence[Update], weights: Sequence[float]) -> bool:
    """Whether a merge is the formula's, sum_k w_k m_k theta_k / sum_k w_k m_k, in float64."""
    for name, array in merged.items():
        total, size, mass = np.zeros((3, *array.shape))
        for (values, masks), weight in zip(updates, weights, strict=True):
            total += weight * values[name].astype(np.float64)
            size += weight * np.abs(values[name].astype(np.float64))
            mass += weight * masks.get(name, 1.0)
        held = mass > 0
        apart = np.abs(array[held] - total[held] / mass[held])
        if (apart > ROUNDING * size[held] / mass[held]).any():
            return False
    return True

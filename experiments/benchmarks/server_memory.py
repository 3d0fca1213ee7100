"""How much memory the server needs for a merge, in models; each measured in a fresh process."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.benchmarks.memory import in_fresh_process, peak_mb, resident_mb
from experiments.benchmarks.round_files import (
    DEFENDED,
    MODEL,
    WIRES,
    arrivals_of,
    downlink,
    layout_in,
    load_model,
)
from experiments.benchmarks.rows import Row, make_row, value_at_most
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.protocol.change_reference import tells_changes
from fedklpr_flwr.runs.checkpoint import ServerState
from fedklpr_flwr.runs.stored_arrays import StoredArrays
from fedklpr_flwr.server.merge_round import hand_down, merge_base, run_merge_round
from fedklpr_flwr.wire.change_entropy import pack_symbols, unpack_symbols

SERVER_MODELS, GROWTH = 3, 1.1


def memory_rows(folder: str, clients: Sequence[int]) -> list[Row]:
    """Measure the rows of the server's memory.

    `server_models_N` is its resident memory while it merges N clients, less what it has before it
    holds any model, in models, less one. `server_models_N_defended`, N the last of `clients`, is
    of a merge that compares all directions first. `server_models_N_bfloat16`, N the first of
    `clients`, is of a lossy wire: the merge and the `hand_down` after it, with what went down and
    what that owed held beside the model; `server_models_N_bfloat16_merge` is of that merge alone.
    `server_models_N_change` is likewise of changes, where numba is. Receiving, inspecting and
    writing to disk have no part in these.

    Args:
        folder: what `write_round` has filled.
        clients: how many clients merge, ascending.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    rows = []
    models = [in_fresh_process(server_models, folder, count) for count in clients]
    for count, held in zip(clients, models, strict=True):
        must = SERVER_MODELS
        rows.append(make_row(f"server_models_{count}", held, "models", 1, must, value_at_most))
    defended = in_fresh_process(server_models, folder, clients[-1], DEFENDED)
    name = f"server_models_{clients[-1]}_defended"
    rows.append(make_row(name, defended, "models", 1, SERVER_MODELS, value_at_most))
    for kind, must in (("bfloat16", None), ("change", SERVER_MODELS)):
        if kind in WIRES:
            held, merging = in_fresh_process(lossy_server_models, folder, clients[0], kind)
            name = f"server_models_{clients[0]}_{kind}"
            rows.append(make_row(name, held, "models", 1, must, value_at_most))
            rows.append(make_row(f"{name}_merge", merging, "models", 1))
    if len(clients) > 1:
        name = f"server_models_{clients[-1]}_over_{clients[-2]}"
        rows.append(make_row(name, models[-1] + 1, "models", models[-2] + 1, GROWTH))
    return rows


def server_models(folder: str, clients: int, words: Sequence[str] = WIRES["delta"]) -> float:
    """Merge so many clients from the files of a folder; the models held at the peak, less one."""
    settings = compose_settings("drawn", words)
    before, place = resident_mb(), Path(folder)
    previous = load_model(place)
    arrivals = arrivals_of(place, clients, "delta")
    layout = layout_in(place, previous)
    peak = peak_mb(partial(run_merge_round, previous, previous, arrivals, layout, settings))
    model = sum(array.nbytes for array in previous.values()) / 1e6
    return (peak - before) / model - 1


def lossy_server_models(folder: str, clients: int, kind: str) -> tuple[float, float]:
    """The same with a lossy wire, of the merge and of what comes after it, and of the merge.

    What is held is what the server's state holds: what went down, and what that owes the model.
    """
    settings = compose_settings("drawn", WIRES[kind])
    if tells_changes(settings):
        coded = pack_symbols(np.ones(99, np.int16), None, 9) or b""
        # Loaded before: numba alone takes as much as a model.
        unpack_symbols(memoryview(coded), 99, None, 9, "loading")
    before, place = resident_mb(), Path(folder)
    sent, residual = downlink(load_model(place), settings)
    state = ServerState("bench", 1, load_model(place), dict(sent), dict(residual))
    if tells_changes(settings):
        state.tensors = StoredArrays(place / MODEL, state.tensors)  # as a commit leaves them
    del sent, residual
    arrivals = arrivals_of(place, clients, kind)
    layout = layout_in(place, state.tensors)
    model = sum(array.nbytes for array in state.tensors.values()) / 1e6
    merged: dict[str, np.ndarray] = {}

    def merge() -> None:
        base = merge_base(state, settings)
        merged.update(run_merge_round(base, state.sent, arrivals, layout, settings)[0])

    def send() -> None:
        hand_down(state, merged, {}, layout, settings)

    merging, sending = ((peak_mb(work) - before) / model - 1 for work in (merge, send))
    return max(merging, sending), merging

"""What a server has on disk before a merge: a model, each client's mask, and its payload."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from experiments.benchmarks.pruned import masks_before, prune
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.mask_file import MaskFile, masks_to_bytes
from fedklpr_flwr.protocol.change_reference import tells_changes
from fedklpr_flwr.protocol.training_report import TrainingReport
from fedklpr_flwr.protocol.update_codec import encode_update, quantise_downlink
from fedklpr_flwr.server.merge_round import Arrival
from fedklpr_flwr.server.robust.update_sketch import StoredChange
from fedklpr_flwr.server.update_checks import inspect_update
from fedklpr_flwr.wire.layout import Layout, layout_of

Arrays = Mapping[str, np.ndarray]

CLIENTS = 8  # different updates; where more clients merge, these come again
PRUNED = 0.5
NOISE = 0.3  # how far clients stand apart, of a tensor's own deviation
WIRES: dict[str, tuple[str, ...]] = {
    "delta": (),
    "plain": ("wire.delta=false",),
    "bfloat16": ("wire.values=bfloat16",),
}
if find_spec("numba"):
    WIRES["change"] = ("wire.values=change",)
DEFENDED = (*WIRES["delta"], "defence.norm_bound=3", "defence.alignment=0.3")
"""What a deployment asks of each update beside."""
MODEL = "model.safetensors"

Update = tuple[Arrays, Arrays]
"""A client's tensors, zero where pruned, and its masks."""


def drawn_updates(tensors: Arrays, names: Collection[str]) -> Iterator[Update]:
    """Different clients of one model: its weights and some noise, each pruned by magnitude."""
    for number in range(CLIENTS):
        generator = np.random.default_rng(number)
        moved = {
            name: array
            + generator.standard_normal(array.shape, np.float32) * np.float32(NOISE * array.std())
            for name, array in tensors.items()
        }
        for name in moved:
            if name.endswith("running_var"):  # the server refuses a variance below zero
                moved[name] = np.abs(moved[name])
        yield prune(moved, names, PRUNED)


def write_round(
    folder: Path, tensors: Arrays, names: Collection[str], updates: Sequence[Update]
) -> None:
    """Lay down what a server has: the model, each client's mask before, payload and direction."""
    layout, defended = layout_of(tensors, names), compose_settings("drawn", DEFENDED)
    settings = {kind: compose_settings("drawn", overrides) for kind, overrides in WIRES.items()}
    received = {kind: downlink(tensors, chosen)[0] for kind, chosen in settings.items()}
    save_file(dict(tensors), folder / MODEL)
    (folder / "prunable").write_text("\n".join(names), encoding="utf-8")
    for number, (arrays, bits) in enumerate(updates):
        values, masks, known = (_as_torch(a) for a in (arrays, bits, masks_before(bits)))
        (folder / f"{number}.mask").write_bytes(masks_to_bytes(known))
        for kind, chosen in settings.items():
            sent = received[kind]
            payload, _ = encode_update(values, masks, known, sent, {}, layout, chosen)
            (folder / f"{number}.{kind}").write_bytes(payload)
        file = folder / f"{number}.delta"
        found = inspect_update(file, layout, known, received["delta"], defended)
        assert found.change is not None
        found.change.spool(folder / f"{number}.direction")


def layout_in(folder: Path, tensors: Arrays) -> Layout:
    """The tensors that travel, of a folder that `write_round` has filled."""
    return layout_of(tensors, (folder / "prunable").read_text(encoding="utf-8").split())


def arrivals_of(folder: Path, clients: int, kind: str) -> list[Arrival]:
    """So many updates of one of WIRES, as they wait for the merge."""

    def arrival(number: int) -> Arrival:
        place = folder / f"{number % CLIENTS}"
        direction = place.with_suffix(".direction")
        return Arrival(
            f"client-{number:04}",
            _report(number),
            place.with_suffix(f".{kind}"),
            MaskFile(place.with_suffix(".mask")),
            change=StoredChange(direction, direction.stat().st_size // 5, moved=True),
        )

    return [arrival(number) for number in range(clients)]


def load_model(folder: Path) -> dict[str, np.ndarray]:
    """The model of a folder that `write_round` has filled, in the order of names."""
    return dict(sorted(load_file(folder / MODEL).items()))


def downlink(tensors: Arrays, settings: Settings) -> tuple[Arrays, Arrays]:
    """What went down before the round, as the server and every client hold it, and what it owes."""
    if tells_changes(settings):
        return dict(tensors), {}
    return quantise_downlink(tensors, {}, settings.wire.values)


def _as_torch(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


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

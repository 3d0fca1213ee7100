"""A tiny federation: three sites of two-coloured figures at 32x16, a second for a whole run.

It runs as `fedklpr simulate` runs one: the real ClientApp, the real strategy, real Flower messages.
A faulty client is the real one with something between it and the server (`interfering`).
"""

import hashlib
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from PIL import Image

from fedklpr_flwr import client_app
from fedklpr_flwr.config.compose import compose_settings, load_settings
from fedklpr_flwr.launch.command_line import override
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.runs.checkpoint import RunFolder, ServerState
from fedklpr_flwr.runs.rows import Row, read_rows
from fedklpr_flwr.server_app import run_federation

NAMES = ("ash", "birch", "cedar")
PAIR = NAMES[:2]
PERSONS = {"ash": 6, "birch": 4, "cedar": 3}
CAMERAS, PICTURES = 2, 2

App = Callable[[Message, Context], Message]
Interference = Callable[[Message, Context, App], Message]

PRUNES = ("method.pruning=always", "pruning.first_round=1")
PLAIN_GAIN = ("klaw.direction=gain", "klaw.data_power=0", "klaw.bound=null")
"""KLAW by what clients say alone, where a test says its formula by hand."""
ONE_ROUND = "federation.rounds=1"
ALONE = "federation.min_clients=1"

TINY = (
    "model.height=32",
    "model.width=16",
    "labels.source=identities",
    "training.epochs=1",
    "training.max_batches=2",
    "training.persons=3",
    "training.pictures=2",
    "training.padding=2",
    "training.device=cpu",  # equal to the bit, also on a machine with a GPU
    "federation.wait_seconds=0",
    "pruning.rate=0.2",
    "pruning.target=0.5",
    "pruning.after=null",
)


# ---------------------------------------------------------------------------- pictures


def figure(person: int, camera: int, generator: np.random.Generator) -> np.ndarray:
    """A person of two colours against a camera's own grey, with noise: uint8 (32, 16, 3)."""
    picture = np.full((32, 16, 3), 90 + 60 * camera)
    picture[4:16, 4:12], picture[16:30, 5:11] = np.random.default_rng(person).integers(
        40, 216, (2, 3)
    )
    noisy = picture + generator.normal(0, 12, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def write_pictures(folder: Path, persons: Iterable[int], pictures: int, seed: int) -> None:
    """Write PERSON/cCAMERA_NUMBER.png, as the `folder` reader wants it."""
    generator = np.random.default_rng(seed)
    for person in persons:
        (folder / f"p{person}").mkdir(parents=True)
        for camera in range(CAMERAS):
            for number in range(pictures):
                path = folder / f"p{person}" / f"c{camera}_{number}.png"
                Image.fromarray(figure(person, camera, generator)).save(path)


def write_sites(root: Path) -> None:
    """Write three sites, and `blank`: pictures of unknown persons, and nothing to search with."""
    for number, (name, persons) in enumerate(PERSONS.items()):
        first = 100 * number
        write_pictures(root / name / "train", range(first, first + persons), PICTURES, number)
        test = range(first + 50, first + 54)
        write_pictures(root / name / "query", test, 1, 10 + number)
        write_pictures(root / name / "gallery", test, 2, 20 + number)
    folder = root / "blank" / "train" / "c1"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(30)
    for person in range(6):
        Image.fromarray(figure(person, 1, generator)).save(folder / f"{person}.png")


# ---------------------------------------------------------------------------- federations


def tiny_overrides(sites: Path, names: Sequence[str] = NAMES) -> tuple[str, ...]:
    """Overrides that make experiment=smoke the tiny federation."""
    clients = ",".join(f"{{name: {name}, reader: folder, folder: {name}}}" for name in names)
    return (*TINY, f"data.clients=[{clients}]", override("data.root", sites))


def sha256_of(file: Path) -> str:
    """A file's hash: pytest takes hours, where CI is set, to tell two unequal models apart."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Finished:
    """What a federation left in its run folder."""

    folder: Path

    @property
    def rows(self) -> list[Row]:
        return read_rows(self.folder / "run.jsonl")

    @property
    def model(self) -> str:
        """The merged model's hash."""
        return sha256_of(self.folder / "global.safetensors")

    @property
    def figures(self) -> list[dict[str, Any]]:
        """The rows in order, without what the clock and the machine decide."""
        rows = sorted(self.rows, key=lambda row: (row.round, row.client or "~"))
        return [{**asdict(row), "seconds": None, "server_peak_mb": None} for row in rows]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The same without the bytes, which a second delivery adds to."""
        return [
            {key: value for key, value in row.items() if not key.startswith("bytes_")}
            for row in self.figures
        ]

    def row(self, round_number: int, client: str | None) -> Row:
        (found,) = [row for row in self.rows if (row.round, row.client) == (round_number, client)]
        return found

    def state(self) -> ServerState:
        folder = RunFolder(self.folder)
        try:
            return folder.load_state()
        finally:
            folder.close()


def run_tiny_federation(
    sites: Path,
    path: Path,
    *overrides: str,
    app: App = client_app.app,
    grid: type[InProcessGrid] = InProcessGrid,
    names: Sequence[str] = NAMES,
    nodes: int | None = None,
) -> Finished:
    """Run rounds in this process; again with the same path goes on from the last merged round.

    The memories' place is said by the nodes and not by run.dir, so that all tests share one
    composed configuration, which takes as long as a round.
    """
    chosen = (*tiny_overrides(sites, names), *overrides)
    run_config = {"experiment": "smoke", "overrides": shlex.join(chosen)}
    count = len(names) if nodes is None else nodes
    partitions = [{"partition-id": n, "state-dir": str(path / "memory")} for n in range(count)]
    folder = RunFolder(path)
    try:
        settings = compose_settings("smoke", chosen)
        run_federation(grid(app, run_config, partitions), settings, folder)
    finally:
        folder.close(done=True)
    return Finished(path)


def client_name(context: Context) -> str:
    """The name of the client that a simulated node speaks for."""
    clients = load_settings(context.run_config).data.clients
    return clients[int(context.node_config["partition-id"])].name


def interfering(
    what: Interference,
    *,
    client: str | None = None,
    round: int | None = None,
    phase: str | None = "train",
    times: float = float("inf"),
) -> App:
    """The real ClientApp with something between it and the server.

    Args:
        what: gets the message, the context and the real app, and answers in the client's place.
        client: whose messages; None = everybody's.
        round: of which round; None = of all.
        phase: train or evaluate; None = both.
        times: how often; later messages go through.
    """
    left = [times]

    def app(message: Message, context: Context) -> Message:
        kind = message.metadata.message_type
        meant = (
            kind in ((phase,) if phase else ("train", "evaluate"))
            and client in (None, client_name(context))
            and round in (None, int(message.metadata.group_id or -1))
        )
        if not meant or left[0] <= 0:
            return client_app.app(message, context)
        left[0] -= 1
        return what(message, context, client_app.app)

    return app


def pruned_share(run: Finished, client: str) -> float:
    """The share that a client's mask, as the run left it, prunes."""
    masks = MaskFile(run.folder / "clients" / client / "mask.safetensors")
    return 1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


# ---------------------------------------------------------------------------- interferences


def fails(message, context, app):
    raise RuntimeError("the camera store is on fire")


def memory_of(context) -> Path:
    (folder,) = Path(context.node_config["state-dir"]).glob(f"*/{client_name(context)}")
    return folder


def forget(message, context, app):
    shutil.rmtree(memory_of(context))
    return app(message, context)

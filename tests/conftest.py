"""A tiny federation: three sites of two-coloured figures at 32x16, so that a whole run takes a second.

A federation runs here as `fedklpr simulate` runs it: the real ClientApp, the real strategy, real Flower
messages. A faulty client is the real one with something between it and the server.
"""

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Context, Message
from PIL import Image

from fedklpr_flwr import client_app
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.site import Pictures, Site
from fedklpr_flwr.report.rows import Row, read_rows
from fedklpr_flwr.runtime.in_process import InProcessGrid
from fedklpr_flwr.runtime.run_folder import RunFolder, ServerState
from fedklpr_flwr.server_app import run_federation
from fedklpr_flwr.settings import compose_settings, override

NAMES = ("ash", "birch", "cedar")
PERSONS = {"ash": 6, "birch": 4, "cedar": 3}
CAMERAS, PICTURES = 2, 2

App = Callable[[Message, Context], Message]
Interference = Callable[[Message, Context, App], Message]


@pytest.fixture(scope="session", autouse=True)
def quiet_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One thread, as a client trains with; caches away from the user's own."""
    torch.set_num_threads(1)
    os.environ["FEDKLPR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def flower_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What Flower's logger said; it does not reach pytest by itself."""
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


# ---------------------------------------------------------------------------- pictures


def figure(person: int, camera: int, generator: np.random.Generator) -> np.ndarray:
    """A person of two colours against a camera's own grey, with noise: uint8 (32, 16, 3)."""
    colours = np.random.default_rng(person).integers(40, 216, (2, 3))
    picture = np.full((32, 16, 3), 90 + 60 * camera)
    picture[4:16, 4:12], picture[16:30, 5:11] = colours
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


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites on disk; persons of train and test are disjoint."""
    root = tmp_path_factory.mktemp("sites")
    for number, (name, persons) in enumerate(PERSONS.items()):
        first = 100 * number
        write_pictures(root / name / "train", range(first, first + persons), PICTURES, number)
        test = range(first + 50, first + 54)
        write_pictures(root / name / "query", test, 1, 10 + number)
        write_pictures(root / name / "gallery", test, 2, 20 + number)
    return root


@pytest.fixture(scope="session")
def tiny_site() -> Site:
    """One site in memory: five persons, two cameras, two pictures each to train on."""
    generator = np.random.default_rng(0)

    def pictures(persons: range, count: int) -> Pictures:
        rows = [(p, c) for p in persons for c in range(CAMERAS) for _ in range(count)]
        pixels = np.stack([figure(p, c, generator).transpose(2, 0, 1) for p, c in rows])
        known = torch.tensor(rows)
        return Pictures(torch.from_numpy(pixels), known[:, 0].clone(), known[:, 1].clone())

    return Site("tiny", pictures(range(5), 2), pictures(range(50, 54), 1), pictures(range(50, 54), 2))


# ---------------------------------------------------------------------------- settings


TINY = (
    "model.height=32",
    "model.width=16",
    "labels.source=identities",
    "training.epochs=1",
    "training.max_batches=2",
    "training.persons=3",
    "training.pictures=2",
    "training.padding=2",
    "federation.wait_seconds=0",
    "pruning.rate=0.2",
)


def tiny_overrides(sites: Path, names: Sequence[str] = NAMES) -> tuple[str, ...]:
    """Overrides that make experiment=smoke the tiny federation."""
    clients = ",".join(f"{{name: {name}, reader: folder, folder: {name}}}" for name in names)
    return (*TINY, f"data.clients=[{clients}]", override("data.root", sites))


@pytest.fixture(scope="session")
def tiny_settings(sites: Path) -> Callable[..., Settings]:
    """`tiny_settings("kl.weight=0", ...)`: settings of the tiny federation with overrides."""

    def settings(*overrides: str) -> Settings:
        return compose_settings("smoke", (*tiny_overrides(sites), *overrides))

    return settings


# ---------------------------------------------------------------------------- federations


@dataclass(frozen=True)
class Finished:
    """What a federation left in its run folder."""

    folder: Path

    @property
    def rows(self) -> list[Row]:
        return read_rows(self.folder / "run.jsonl")

    @property
    def model(self) -> bytes:
        return (self.folder / "global.safetensors").read_bytes()

    def row(self, round_number: int, client: str | None) -> Row:
        (found,) = [r for r in self.rows if (r.round, r.client) == (round_number, client)]
        return found

    def state(self) -> ServerState:
        folder = RunFolder(self.folder)
        try:
            return folder.load_state()
        finally:
            folder.close()


Federate = Callable[..., Finished]


@pytest.fixture
def federate(sites: Path, tmp_path: Path) -> Federate:
    """`federate("kl.weight=0", folder="a", app=..., grid=...)`: run the tiny federation in this process.

    Called again with the same folder it goes on from the folder's last merged round.
    """

    def run(
        *overrides: str,
        folder: str = "run",
        app: App = client_app.app,
        grid: type[InProcessGrid] = InProcessGrid,
        names: Sequence[str] = NAMES,
        nodes: int | None = None,
    ) -> Finished:
        path = tmp_path / folder
        chosen = (*tiny_overrides(sites, names), override("run.dir", path), *overrides)
        run_config = {"experiment": "smoke", "overrides": shlex.join(chosen)}
        count = len(names) if nodes is None else nodes
        partitions = [{"partition-id": i, "num-partitions": count} for i in range(count)]
        opened = RunFolder(path)
        try:
            settings = compose_settings("smoke", chosen)
            run_federation(grid(app, run_config, partitions), settings, opened)
        finally:
            opened.close(done=True)
        return Finished(path)

    return run


@pytest.fixture
def interfering() -> Callable[..., App]:
    """`interfering(what, client="ash", round=1, phase="train", times=1)`: the real ClientApp, interfered with.

    Args of the function it gives:
        what: gets the message, the context and the real app, and answers in the client's place.
        client, round, phase: whose messages; None = any.
        times: how often; later messages go through.
    """

    def app_with(
        what: Interference,
        *,
        client: str | None = None,
        round: int | None = None,
        phase: str = "train",
        times: float = float("inf"),
    ) -> App:
        left = [times]

        def app(message: Message, context: Context) -> Message:
            meant = (
                message.metadata.message_type == phase
                and client in (None, NAMES[int(context.node_config["partition-id"])])
                and round in (None, int(message.metadata.group_id or -1))
            )
            if not meant or left[0] <= 0:
                return client_app.app(message, context)
            left[0] -= 1
            return what(message, context, client_app.app)

        return app

    return app_with

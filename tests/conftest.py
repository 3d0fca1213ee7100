"""Fixtures that several rooms' tests share; the tiny federation itself is tiny_federation.py."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import (
    CAMERAS,
    PAIR,
    PRUNES,
    Finished,
    figure,
    run_tiny_federation,
    tiny_overrides,
    write_sites,
)

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.site import Pictures, Site


@pytest.fixture(scope="session", autouse=True)
def quiet_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One thread, as a client trains with; caches away from the user's own.

    A shell's background job begins with SIGINT ignored, and so would all that the tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    os.environ["FEDKLPR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def flower_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What Flower's logger said; it does not reach pytest by itself."""
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny federation's pictures; persons of train and test are disjoint."""
    root = tmp_path_factory.mktemp("sites")
    write_sites(root)
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

    test = range(50, 54)
    return Site("tiny", pictures(range(5), 2), pictures(test, 1), pictures(test, 2))


@pytest.fixture(scope="session")
def tiny_settings(sites: Path) -> Callable[..., Settings]:
    """`tiny_settings("kl.weight=0", ...)`: settings of the tiny federation with overrides."""
    return lambda *overrides: compose_settings("smoke", (*tiny_overrides(sites), *overrides))


@pytest.fixture(scope="session")
def federate_in(sites: Path) -> Callable[..., Finished]:
    """`federate_in(path, "kl.weight=0", app=..., grid=...)`: run the tiny federation there."""
    return partial(run_tiny_federation, sites)


@pytest.fixture
def federate(federate_in: Callable[..., Finished], tmp_path: Path) -> Callable[..., Finished]:
    """`federate("kl.weight=0", folder="a", ...)`: the same in a folder of this test."""
    return lambda *overrides, folder="run", **how: federate_in(tmp_path / folder, *overrides, **how)


@pytest.fixture(scope="session")
def undisturbed(
    federate_in: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """Two clients and rounds in which everybody prunes and nothing goes wrong."""
    return federate_in(tmp_path_factory.mktemp("undisturbed") / "run", *PRUNES, names=PAIR)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)

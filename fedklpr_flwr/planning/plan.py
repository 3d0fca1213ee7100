"""Before a run starts: count its pictures, and probe a client's work in processes of its own."""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import mean
from threading import BrokenBarrierError

import torch

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.data.picture_cache import load_pictures
from fedklpr_flwr.errors import DataError, RunError, SettingsError
from fedklpr_flwr.launch.command_line import split_arguments
from fedklpr_flwr.launch.preflight import check_named_places
from fedklpr_flwr.model.site import list_pictures
from fedklpr_flwr.planning.forecast import Forecast, Load, batches_an_epoch
from fedklpr_flwr.planning.probe import FORWARD_BATCH, Probed, probe_client
from fedklpr_flwr.system.paths import user_cache

_TOGETHER_SECONDS = 600.0
_SMALL_SECONDS = 60.0
"""A run so short is planned by one client's probe alone: a second would take as long as the run."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """A run's forecast, and how it was come by.

    Attributes:
        settings: the run's settings.
        together: the forecast with as many clients side by side as the cores take: `fedklpr run`.
        alone: the forecast of one client after the other: `fedklpr simulate`.
        at_once: clients side by side.
        free_mb: memory that this machine has to give; None where it does not say.
        decoding: seconds that all pictures take to be decoded once, before the first run.
        fits: whether there is memory for as many probes side by side.
    """

    settings: Settings
    together: Forecast
    alone: Forecast
    at_once: int
    free_mb: float | None
    decoding: float
    fits: bool


def plan_run(arguments: Sequence[str], *, cores: int | None, say: Say) -> Planned:
    """Forecast the run of a command line.

    Args:
        arguments: as `fedklpr run` takes them.
        cores: to plan for; None = this machine's.
        say: told what is being done.

    Raises:
        SettingsError: the run could not start, or goes on with an earlier one.
        DataError: a site's pictures cannot be read.
        RunError: a probe ended before it had measured.
    """
    experiment, overrides = split_arguments(arguments)
    settings = compose_settings(experiment, overrides)
    if settings.resume is not None:
        raise SettingsError("resume=...: a plan is of a whole run; leave resume out")
    check_named_places(settings, simulated=True)
    say("counting pictures")
    datasets = [_datasets(client, settings) for client in settings.data.clients]
    loads = [
        _load(client, parts) for client, parts in zip(settings.data.clients, datasets, strict=True)
    ]
    largest = max(range(len(loads)), key=lambda number: loads[number].train)
    pixels, cameras, decode = _some_pictures(datasets[largest], settings)
    here = os.cpu_count() or 1
    threads = settings.training.threads
    at_once = max(1, min(len(loads), (cores or here) // threads))
    say("a round in miniature, one client")
    probe = partial(
        probe_client,
        settings,
        pixels,
        cameras,
        clustered=loads[largest].train,
        batches=settings.training.epochs * min(batches_an_epoch(load, settings) for load in loads),
    )
    (alone,) = _probes(probe, 1, threads)
    probes = max(1, min(at_once, here // threads))
    free = free_memory_mb()
    fits = free is None or probes * alone.peak_mb < free
    beside = alone
    if probes > 1 and fits and Forecast(settings, alone, loads, 1).seconds > _SMALL_SECONDS:
        say(f"the same, {probes} clients side by side")
        beside = _average(_probes(probe, probes, threads))
    count = sum(load.train + load.query + load.gallery for load in loads)
    return Planned(
        settings,
        Forecast(settings, beside, loads, at_once),
        Forecast(settings, alone, loads, 1),
        at_once,
        free,
        decode * count / here,
        fits,
    )


def free_memory_mb() -> float | None:
    """The memory that processes can have without swapping; None where the system does not say."""
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    for line in table.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


# ---------------------------------------------------------------------------- pictures


def _datasets(client: Client, settings: Settings) -> list[ReidDataset]:
    """What a client's pictures are; several where it joins sites."""
    sites = settings.data.joined or (client,)
    return [list_pictures(site, settings, user_cache())[0] for site in sites]


def _load(client: Client, parts: Sequence[ReidDataset]) -> Load:
    return Load(
        client.name,
        sum(len(part.train) for part in parts),
        sum(len({i.person_id for i in part.train if i.person_id >= 0}) for part in parts),
        tuple((len(part.query), len(part.gallery)) for part in parts),
    )


def _some_pictures(
    parts: Sequence[ReidDataset], settings: Settings
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Pixels and cameras of a few training pictures, and the seconds it takes to decode one.

    Raises:
        DataError: there is none to train on, or one of them cannot be read.
    """
    images = [image for part in parts for image in part.train][:FORWARD_BATCH]
    if len(images) < 2:
        raise DataError("no client has two training pictures: there is nothing to plan")
    started = time.perf_counter()
    pixels, kept = load_pictures(
        images,
        height=settings.model.height,
        width=settings.model.width,
        cache=None,
        skip_unreadable=settings.data.skip_unreadable,
    )
    seconds = (time.perf_counter() - started) / len(images)
    return pixels, torch.tensor([images[index].camera_id for index in kept]), seconds


# ---------------------------------------------------------------------------- processes

_BARRIERS: list[Barrier] = []
_STARTED: list[float] = []


def _begin(barrier: Barrier, threads: int, asked: float) -> None:
    _STARTED.append(time.perf_counter() - asked)
    torch.set_num_threads(threads)
    _BARRIERS.append(barrier)


def _probe(probe: Callable[..., Probed]) -> Probed:
    (barrier,) = _BARRIERS
    return replace(probe(together=lambda: barrier.wait(_TOGETHER_SECONDS)), start=_STARTED[0])


def _probes(probe: Callable[..., Probed], count: int, threads: int) -> list[Probed]:
    """So many probes at once, each in a process of its own.

    Raises:
        RunError: one of them was ended from outside, or never came.
    """
    world = multiprocessing.get_context("spawn")
    begin_with = world.Barrier(count), threads, time.perf_counter()
    pool = ProcessPoolExecutor(count, mp_context=world, initializer=_begin, initargs=begin_with)
    try:
        with pool:
            return [
                future.result() for future in [pool.submit(_probe, probe) for _ in range(count)]
            ]
    except (BrokenProcessPool, BrokenBarrierError) as error:
        raise RunError(
            f"a client's round in miniature was ended before it was done ({count} at once): is "
            "there memory for it? Smaller training.persons or training.pictures need less"
        ) from error


def _average(probes: Sequence[Probed]) -> Probed:
    """The mean of several probes, and the largest of their memories."""
    first = probes[0]
    values = {}
    for item in fields(Probed):
        every = [getattr(probe, item.name) for probe in probes]
        if item.name.endswith("_mb") and every[0] is not None:
            values[item.name] = max(every)
        elif isinstance(every[0], float):
            values[item.name] = mean(every)
        else:
            values[item.name] = every[0]
    return type(first)(**values)

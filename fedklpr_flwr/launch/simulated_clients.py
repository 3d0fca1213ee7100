"""What Flower's simulation engine gives to each client: cores, and a share of a GPU."""

import math
import os

import torch

from fedklpr_flwr.config.settings import Settings

_SMALLEST_SHARE = 10_000
"""Ray counts shares of a GPU in ten-thousandths."""


def federation_words(settings: Settings, count: int) -> str:
    """The words of `flwr run --federation-config` for a simulation.

    Args:
        settings: the run's settings.
        count: SuperNodes, one a client.

    Returns:
        SuperNodes, cores a client, and, where clients train on CUDA, a client's share of a GPU: Ray
        hides the GPUs from a client without one.
    """
    threads = settings.training.threads
    words = f"num-supernodes={count} client-resources-num-cpus={threads}"
    gpus = torch.cuda.device_count() if settings.training.device != "cpu" else 0
    if not gpus:
        return words
    share = gpu_share(gpus, cores=os.cpu_count() or 1, threads=threads, clients=count)
    return f"{words} client-resources-num-gpus={share:g}"


def gpu_share(gpus: int, *, cores: int, threads: int, clients: int) -> float:
    """A client's share of a GPU, so that the cores and not the GPUs say how many run at once.

        share = 1 / ceil(at once / gpus),   at once = min(clients, floor(cores / threads))

    Args:
        gpus: how many there are, at least 1.
        cores: of the machine.
        threads: cores that a client takes.
        clients: how many there are, at least 1.

    Returns:
        In (0, 1], rounded down to four digits.
    """
    at_once = max(1, min(clients, cores // threads))
    return math.floor(_SMALLEST_SHARE / math.ceil(at_once / gpus)) / _SMALLEST_SHARE

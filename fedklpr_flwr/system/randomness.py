"""One seed becomes as many independent, named generators as a run needs."""

import hashlib

import torch


def derived_seed(seed: int, *names: object) -> int:
    """A 63-bit seed that depends on the run's seed and on every name, the same on every machine."""
    text = "\0".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def named_generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for one purpose, as (seed, client, round, epoch): retries repeat it."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))

"""Who of the clients that are there trains in a round, and who evaluates its model."""

from collections.abc import Callable, Sequence

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.system.randomness import named_generator

Choice = Callable[[Sequence[str], Settings, int], list[str]]
"""Names of who is here, in order; the run's settings; the round -> who is asked."""


def who_trains(here: Sequence[str], settings: Settings, round_number: int) -> list[str]:
    """Choose who trains in a round: a seeded share of those that are here, by name.

    Args:
        here: names in order.
        settings: `federation.fraction` of them, `federation.min_clients` at least.
        round_number: 1..R; another round, another choice.
    """
    fraction = settings.federation.fraction
    if fraction >= 1.0:
        return list(here)
    generator = named_generator(settings.seed, "choice", round_number)
    wanted = max(settings.federation.min_clients, round(fraction * len(here)))
    order = torch.randperm(len(here), generator=generator).tolist()
    return sorted(here[index] for index in order[:wanted])


def who_evaluates(here: Sequence[str], settings: Settings, round_number: int) -> list[str]:
    """Choose who evaluates a round's model: all, or who trains on it next; after the last all.

    Args:
        here: names in order.
        settings: `federation.evaluate`, and what `who_trains` needs.
        round_number: 0..R.
    """
    chosen = settings.federation
    if chosen.evaluate == "all" or round_number >= chosen.rounds:
        return list(here)
    return who_trains(here, settings, round_number + 1)

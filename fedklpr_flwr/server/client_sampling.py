"""Who of the clients that are there trains in a round."""

from collections.abc import Sequence

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.system.randomness import named_generator


def chosen_share(here: Sequence[str], settings: Settings, round_number: int) -> list[str]:
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

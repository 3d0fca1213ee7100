"""How much a client learns in a round, measured on the same few of its pictures in every round."""

import torch

from fedklpr_flwr.algorithm.divergence import (
    cosine_distance,
    default_temperature,
    knowledge_gain,
)
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.system.randomness import named_generator


class DivergenceProbe:
    """A network's features before it is trained, to hold those after it against.

    Args:
        network: as received; it is trained in place later.
        site: the client's pictures.
        settings: the run's settings.
    """

    def __init__(self, network: ReidNetwork, site: Site, settings: Settings) -> None:
        self._network, self._settings = network, settings
        self._batch = divergence_batch(site, settings)
        self._before = features_of(network, self._batch)

    def gained(self) -> tuple[float, float]:
        """KL(after || before) in nats, and the mean of 1 - cos(after, before); 0 of no pictures."""
        if not len(self._before):
            return 0.0, 0.0
        after = features_of(self._network, self._batch)
        temperature = self._settings.kl.temperature
        temperature = temperature or default_temperature(self._network.feature_dim)
        gain = knowledge_gain(after, self._before, temperature)
        return gain, cosine_distance(after, self._before)


def divergence_batch(site: Site, settings: Settings) -> Pictures:
    """The pictures that KLAW is measured on: 32 training pictures, the same in every round."""
    count = len(site.train)
    if settings.klaw.batch == "first32":
        chosen = torch.arange(min(32, count))
    else:
        generator = named_generator(settings.seed, site.name, "klaw batch")
        chosen = torch.randperm(count, generator=generator)[:32].sort().values
    return site.train.subset(chosen)

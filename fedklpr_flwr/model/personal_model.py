"""A client's own model, made of what it received and what it keeps: one recipe for everybody.

A client that trains or is evaluated, and whoever opens its model in a run folder, go the same way:
the received model is drawn towards the client's own (`personal.own_share`), its personal parts are
laid over it, its mask is applied (`load_personal_model`), and after a merge its batch norm is
measured again where `personal.batchnorm` asks for it (`make_personal`).
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from fedklpr_flwr.algorithm.masks import apply_mask
from fedklpr_flwr.config.settings import Personal
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.network import ReidNetwork, float_state, reestimate_batchnorm

_REESTIMATION_BATCHES = 12

Tensors = Mapping[str, torch.Tensor]


def load_personal_model(
    network: ReidNetwork,
    received: Tensors,
    masks: Tensors,
    parts: Tensors,
    own: Tensors = MappingProxyType({}),
    own_share: float = 0.0,
) -> None:
    """Make a network, in place, a client's own model of what it received and what it keeps.

    Args:
        network: of the run's backbone.
        received: float32 tensors by name; those that do not travel are as the network has them.
        masks: bool tensors by name, True = kept; none = nothing is pruned.
        parts: float32 tensors that never leave the client; those that the network lacks are left
            out, since a classifier has no part in features.
        own: the model as the client last trained it; only `own_share` > 0 needs it.
        own_share: mu of `mixed_with_own`.
    """
    state = float_state(network)
    known = {name: value for name, value in parts.items() if name in state}
    with torch.no_grad():
        for name, value in (mixed_with_own(received, own, own_share) | known).items():
            state[name].copy_(value)
    apply_mask(state, dict(masks))


def mixed_with_own(received: Tensors, own: Tensors, share: float) -> dict[str, torch.Tensor]:
    """The received model drawn towards the client's own (FedUReID's personalised update).

        theta <- mu theta_k + (1 - mu) theta

    Args:
        received: float32 tensors by name.
        own: the model as the client last trained it; a tensor it lacks is taken as received.
        share: mu in [0, 1]; 0 is the received model, 1 never listens.

    Returns:
        New tensors. The paper does this on the
        server with every client's model at hand; on the client it is the same arithmetic.
    """
    mixed = dict(received)
    if share:
        mixed |= {
            name: torch.lerp(received[name], own[name], share) for name in own if name in received
        }
    return mixed


def make_personal(network: ReidNetwork, site: Site, personal: Personal, round_number: int) -> None:
    """Give a merged model, in place, the batch-norm statistics that `personal.batchnorm` asks for.

    The initial model, of round 0, is nobody's merge and is scored as it was received.
    """
    if round_number and personal.batchnorm == "reestimate":
        reestimate_on(network, site)


def reestimate_on(network: ReidNetwork, site: Site) -> None:
    """Take batch-norm statistics from a dozen evenly spread batches of training pictures."""
    if len(site.train) > 1:
        reestimate_batchnorm(network, _some_batches(site.train))


def _some_batches(train: Pictures) -> list[torch.Tensor]:
    count = min(len(train), _REESTIMATION_BATCHES * 32)
    spread = torch.linspace(0, len(train) - 1, count).round().long()
    batches = list(image_loader(train.pixels[spread], 32))
    return [batch for batch in batches if len(batch) > 1]

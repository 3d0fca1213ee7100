"""The model that clients and server share: what it begins as, what of it travels or is pruned."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from fedklpr_flwr.algorithm.masks import full_mask, prunable_weights
from fedklpr_flwr.config.round_overrides import settings_in_round
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.reid.identity_head import IdentityHead
from fedklpr_flwr.reid.initial_weights import download_imagenet_weights
from fedklpr_flwr.reid.network import ReidNetwork, build_network, float_state
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.randomness import derived_seed, named_generator
from fedklpr_flwr.wire.layout import Layout, layout_of


def initial_network(settings: Settings, *, pretrained: bool) -> ReidNetwork:
    """The network that the server and every client start from.

    Args:
        settings: the run's settings; the seed decides the random values.
        pretrained: lay `model.weights` over them. A client that receives every tensor spares itself
            that.

    Raises:
        WeightsError: the weights do not fit, or cannot be had.
    """
    return build_network(
        settings.model.backbone,
        weights=_weights_file(settings) if pretrained else None,
        generator_seed=derived_seed(settings.seed, "weights"),
        stem_relu=settings.model.stem_relu,
    )


def client_network(settings: Settings, site: Site, *, pretrained: bool) -> ReidNetwork:
    """The initial network with what only this client has: a classifier of its own persons.

    Args:
        settings: the run's settings; a loss that trains no classifier adds nothing.
        site: the client's pictures.
        pretrained: see `initial_network`.
    """
    network = initial_network(settings, pretrained=pretrained)
    if "classifier" in settings.method.local_loss:
        network.add_module("classifier", _new_classifier(network, settings, site))
    return network


def _new_classifier(network: ReidNetwork, settings: Settings, site: Site) -> IdentityHead:
    return IdentityHead(
        network.feature_dim,
        site.known_persons,
        generator=named_generator(settings.seed, site.name, "classifier"),
        dropout=settings.classifier.dropout,
    )


def _weights_file(settings: Settings) -> Path | None:
    weights = settings.model.weights
    if weights == "imagenet":
        return download_imagenet_weights(settings.model.backbone)
    if weights is None:
        return None
    path = Path(weights)
    if not path.is_dir():
        return path
    model = path / run_files.MODEL
    if not model.is_file():
        raise WeightsError(
            f"model.weights={path}: the folder holds no global.safetensors; choose a run folder "
            "with a merged round, or a file of weights"
        )
    return model


def shared_layout(settings: Settings, round_number: int = 0) -> Layout:
    """The tensors that travel, in the order both sides agree on; prunable ones are marked.

    Args:
        settings: the run's settings.
        round_number: the round whose update or merge it is; parts that have become personal by
            then stay at home. 0 = all that ever travels.
    """
    return _layout(settings_in_round(settings, round_number))


@lru_cache(maxsize=8)
def _layout(settings: Settings) -> Layout:
    network = initial_network(settings, pretrained=False)
    personal = personal_names(network, settings.method.personal_parts)
    tensors = {name: value for name, value in float_state(network).items() if name not in personal}
    prunable = [name for name in prunable_names(network, settings) if name in tensors]
    return layout_of({name: value.numpy() for name, value in tensors.items()}, prunable)


def personal_names(network: nn.Module, parts: str) -> frozenset[str]:
    """Names of the tensors that never leave the client, by `method.personal_parts`."""
    return PERSONAL_PARTS[parts](network)


def client_parts(network: nn.Module, settings: Settings, round_number: int) -> frozenset[str]:
    """Names of the tensors that a client keeps to itself in a round, stages counted."""
    return personal_names(network, settings_in_round(settings, round_number).method.personal_parts)


def _nothing(network: nn.Module) -> frozenset[str]:
    return frozenset()


def _batchnorm(network: nn.Module) -> frozenset[str]:
    """Every batch norm's scale, shift and running statistics (FedBN)."""
    prefixes = tuple(
        f"{name}."
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    )
    return frozenset(name for name in float_state(network) if name.startswith(prefixes))


def _neck(network: nn.Module) -> frozenset[str]:
    return frozenset(name for name in float_state(network) if name.startswith("neck."))


def _classifier(network: nn.Module) -> frozenset[str]:
    """The classifier of the client's own persons, where it has one (FedPav)."""
    return frozenset(name for name in float_state(network) if name.startswith("classifier."))


def _everything(network: nn.Module) -> frozenset[str]:
    return frozenset(float_state(network))


PERSONAL_PARTS: dict[str, Callable[[nn.Module], frozenset[str]]] = {
    "none": _nothing,
    "batchnorm": _batchnorm,
    "neck": _neck,
    "classifier": _classifier,
    "all": _everything,
}


def prunable_names(network: nn.Module, settings: Settings) -> tuple[str, ...]:
    """The weights that may be pruned; none where the method does not prune."""
    if settings.method.pruning == "none":
        return ()
    return prunable_weights(
        network, depthwise=settings.pruning.depthwise, stem=settings.pruning.stem
    )


def full_masks(network: nn.Module, settings: Settings) -> dict[str, torch.Tensor]:
    """Masks that keep everything: where every client starts."""
    return full_mask(float_state(network), prunable_names(network, settings))

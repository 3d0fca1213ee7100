"""The merged model as one client sees it: through its mask, with its personal parts, and scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from fedklpr_flwr.algorithm.pruning import apply_mask, full_mask, prunable_weights
from fedklpr_flwr.config.round_overrides import settings_in_round
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.model.device import all_on_host, placed, training_device
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.identity_head import IdentityHead
from fedklpr_flwr.reid.network import ReidNetwork, build_network, reestimate_batchnorm
from fedklpr_flwr.reid.ranking import RankingScores, score_ranking
from fedklpr_flwr.reid.weights import download_imagenet_weights
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.randomness import derived_seed, named_generator
from fedklpr_flwr.wire.layout import Layout, layout_of

_EVALUATION_BATCH = 128
_REESTIMATION_BATCHES = 12


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


def float_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and float buffers by name, sharing the network's storage; counters stay behind."""
    return {
        name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()
    }


def state_on_host(network: nn.Module) -> dict[str, torch.Tensor]:
    """`float_state` as what travels and what is stored needs it: on the CPU, contiguous."""
    return all_on_host(float_state(network))


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


def load_personal_model(
    network: ReidNetwork,
    received: Mapping[str, torch.Tensor],
    masks: Mapping[str, torch.Tensor],
    personal: Mapping[str, torch.Tensor],
) -> None:
    """Lay the received model and the client's own tensors into a network, through its mask."""
    state = float_state(network)
    with torch.no_grad():
        for name, value in (*received.items(), *personal.items()):
            state[name].copy_(value)
    apply_mask(state, dict(masks))


def bring_to_device(network: ReidNetwork, settings: Settings) -> None:
    """Move a network to where this client trains (`training.device`), in place.

    Raises:
        SettingsError: it says cuda and torch sees no CUDA device.
    """
    placed(network, settings.training, training_device(settings.training))


def mixed_with_own(
    received: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
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


def make_personal(network: ReidNetwork, site: Site, settings: Settings) -> None:
    """Give a merged model, in place, the batch-norm statistics that `personal.batchnorm` asks for.

    The initial model is nobody's merge and stays as it is: round 0 scores what was received.
    """
    if settings.personal.batchnorm == "reestimate":
        reestimate_on(network, site)


def evaluate_personal_model(network: ReidNetwork, site: Site) -> RankingScores | None:
    """Search the site's queries in its gallery; of joined sites each in its own, then the mean.

    Returns:
        The scores, or None where the site has no query or no gallery.
    """
    if site.parts:
        return mean_scores([evaluate_personal_model(network, part) for part in site.parts])
    if not len(site.query) or not len(site.gallery):
        return None
    query, gallery = features_of(network, site.query), features_of(network, site.gallery)
    return score_ranking(
        query,
        site.query.persons,
        site.query.cameras,
        gallery,
        site.gallery.persons,
        site.gallery.cameras,
    )


def mean_scores(parts: Sequence[RankingScores | None]) -> RankingScores | None:
    """The mean of several test sets' scores, each counting the same; None where there is none."""
    found = [asdict(scores) for scores in parts if scores is not None]
    if not found:
        return None
    means = {key: sum(scores[key] for scores in found) / len(found) for key in found[0]}
    return RankingScores(**{**means, "queries": sum(scores["queries"] for scores in found)})


def features_of(network: ReidNetwork, pictures: Pictures) -> torch.Tensor:
    """Unit features (N, D) of pictures as evaluation sees them."""
    return extract_features(network, image_loader(pictures.pixels, _EVALUATION_BATCH))


def reestimate_on(network: ReidNetwork, site: Site) -> None:
    """Take batch-norm statistics from a dozen evenly spread batches of training pictures."""
    if len(site.train) > 1:
        reestimate_batchnorm(network, _some_batches(site.train))


def _some_batches(train: Pictures) -> list[torch.Tensor]:
    count = min(len(train), _REESTIMATION_BATCHES * 32)
    spread = torch.linspace(0, len(train) - 1, count).round().long()
    batches = list(image_loader(train.pixels[spread], 32))
    return [batch for batch in batches if len(batch) > 1]

"""Choices that FedKLPR itself does not make: the rivals' losses, labels and stages."""

from dataclasses import dataclass

from fedklpr_flwr.federation.allowed import between, one_of


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Named choices that change on the way (FedUCC's stages)."""

    personal_after: float | None = between(0.0, 1.0)
    personal_parts: str = one_of("batchnorm", "neck")
    loss_after: float | None = between(0.0, 1.0)
    local_loss: str = one_of(
        "camera_proxies",
        "clusters",
        "clusters_cameras",
        "clusters_patches",
        "clusters_cameras_patches",
    )


@dataclass(frozen=True, kw_only=True)
class ClusterMemory:
    """The cluster-contrastive loss (FedUCC), of whole pictures and of stripes."""

    temperature: float = between(1e-3)
    momentum: float = between(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Patch knowledge (FedUCC's third stage)."""

    stripes: int = between(1)
    weight: float = between(0.0)


@dataclass(frozen=True, kw_only=True)
class BottomUp:
    """Bottom-up clustering (BUC, FedUReID): one merge step a round."""

    share: float = between(0.0, 0.5)
    personalised: bool
    size_weight: float = between(0.0)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classifier of a client's own persons (FedPav)."""

    dropout: float = between(0.0, 0.95)


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """When local training ends before its epochs are over (FedUReID's personalised epoch)."""

    precision: float | None = between(0.0, 1.0)
    from_round: int = between(1)

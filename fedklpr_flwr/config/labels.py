"""Where labels come from: the settings of conf/labels."""

from dataclasses import dataclass

from fedklpr_flwr.config.fields import between, one_of


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Where a picture's label comes from; older run folders say nothing from `camera` on."""

    source: str = one_of("clusters", "identities", "bottom_up")
    k1: int = between(1)
    k2: int = between(1)
    eps: float = between(0.0, 1.0)
    min_samples: int = between(1)
    camera: str = one_of("none", "mean", "zscore", default="none")
    neighbours: str = one_of("global", "by_camera", default="global")
    k1_within: int = between(0, default=5)
    k1_across: int = between(1, default=20)
    k2_within: int = between(1, default=2)
    k2_across: int = between(0, default=4)
    colour: float = between(0.0, 1.0, default=0.0)
    stripes: float = between(0.0, 1.0, default=0.0)
    share: float | None = between(1e-3, 1.0, default=None)
    spanning_from: float | None = between(0.0, 1.0, default=None)
    camera_batchnorm: bool = False
    tracks: str = one_of("together", "ignored", "persons", default="together")

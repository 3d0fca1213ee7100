"""What a training step costs: the KL term's share, the memory layout's gain, images a second."""

from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from experiments.benchmarks.rows import Row, make_row, median_seconds, ratio_at_least
from fedklpr_flwr.client.drift_penalty import Received, receive
from fedklpr_flwr.client.epoch import train_epoch
from fedklpr_flwr.client.local_loss import OBJECTIVES, EpochStart
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.model.device import placed
from fedklpr_flwr.model.site import Pictures
from fedklpr_flwr.reid.network import ReidNetwork, build_network

KL_OVERHEAD, KL_CACHED_OVERHEAD, CHANNELS_LAST = 0.31, 0.08, 1.45
BACKBONES = ("resnet18", "resnet34", "resnet50", "mobilenet_v2")
HEIGHTS = (256, 128)


class PlainLayout(ReidNetwork):
    """The same network as torch runs it by default: NCHW throughout."""

    def taken(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures in the layout they come in."""
        return images


@dataclass(frozen=True)
class Load:
    """What a step trains on.

    Attributes:
        backbone: of `build_network`.
        height: of the pictures, which are half as wide.
        proxies: proxies a batch.
        pictures: pictures of each.
        prototypes: proxies that the loss compares with.
    """

    backbone: str = "resnet50"
    height: int = 256
    proxies: int = 4
    pictures: int = 4
    prototypes: int = 700

    @property
    def images(self) -> int:
        """Pictures a batch."""
        return self.proxies * self.pictures


RESNET50 = Load()


class _Trial:
    """A client in the middle of an epoch, one step at a time, by the project's own loop."""

    def __init__(
        self, load: Load, *, plain_layout: bool = False, precision: str = "float32"
    ) -> None:
        self._settings = compose_settings(
            "drawn",
            (
                f"training.persons={load.proxies}",
                f"training.pictures={load.pictures}",
                "training.max_batches=1",
                f"training.precision={precision}",
            ),
        )
        self._generator = torch.Generator().manual_seed(0)
        network = build_network(load.backbone, weights=None, generator_seed=0)
        self._network = network
        if plain_layout:
            self._network = PlainLayout(network.backbone, network.feature_dim)
        placed(self._network, self._settings.training, torch.device("cpu"))
        self._train = _noise_pictures(load, self._generator)
        features = torch.randn(len(self._train), network.feature_dim, generator=self._generator)
        features = functional.normalize(features, dim=1)
        start = EpochStart(
            self._network,
            self._train,
            features,
            torch.arange(len(self._train)),
            self._settings,
            self._generator,
        )
        self._objective = OBJECTIVES["camera_proxies"](start)
        trained = [value for value in network.parameters() if value.requires_grad]
        self._optimizer = torch.optim.Adam(trained, lr=1e-5)
        self.received = receive(self._network, "eval", None)
        self.cached = Received(self.received.network, self.received.parameters, features)

    def step(self, received: Received | None = None) -> None:
        """Load a batch and train on it, with the KL term where there is a reference."""
        train_epoch(
            self._network,
            self._train,
            self._objective,
            self._optimizer,
            received or self.received,
            {},
            self._settings,
            drift_weight=self._settings.kl.weight if received else 0.0,
            marked={},
            extrusion=0.0,
            copies=1,
            generator=self._generator,
            halfway=_do_nothing,
        )

    @torch.no_grad()
    def forward(self, batch: torch.Tensor) -> None:
        """The bare forward pass of the frozen reference."""
        self.received.network(batch)


def train_rows(load: Load = RESNET50, *, repeats: int = 5, table: bool = True) -> list[Row]:
    """Measure the rows `train` of the benchmarks, on all cores.

    The two overheads are the seconds that the KL term adds to a step, over the step without it;
    `kl_forward_share` is what the bare forward pass takes of that step, without which no exact
    reference can be had. `channels_last_speedup` is float32 over float32 in torch's default layout;
    `auto_precision_speedup` is `training.precision=auto`, bfloat16 where a probe shows a gain, over
    the same. Speeds are images a second of whole steps, loading and optimiser included.

    Args:
        load: what a step trains on.
        repeats: timings taken, the median counts.
        table: measure images a second of the other networks and sizes too.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    trial, plain = _Trial(load), _Trial(load, plain_layout=True)
    chosen = _Trial(load, precision="auto")
    batch = torch.randn(load.images, 3, load.height, load.height // 2)
    bare, exact, cached, forward, default, fastest = median_seconds(
        repeats,
        trial.step,
        partial(trial.step, trial.received),
        partial(trial.step, trial.cached),
        partial(trial.forward, batch),
        plain.step,
        chosen.step,
    )
    by_probe = (load.images / fastest, "images/s", load.images / default)
    rates = (load.images / bare, "images/s", load.images / default)
    rows = [
        make_row("kl_overhead", exact - bare, "s", bare, KL_OVERHEAD),
        make_row("kl_cached_overhead", cached - bare, "s", bare, KL_CACHED_OVERHEAD),
        make_row("kl_forward_share", forward, "s", bare),
        make_row("channels_last_speedup", *rates, CHANNELS_LAST, ratio_at_least),
        make_row("auto_precision_speedup", *by_probe, CHANNELS_LAST, ratio_at_least),
    ]
    return rows + (_images_a_second(load, load.images / bare, repeats) if table else [])


def _images_a_second(load: Load, anchor: float, repeats: int) -> list[Row]:
    """Images a second of every network and size; the anchor is the load's own."""
    rows = []
    for backbone in BACKBONES:
        for height in HEIGHTS:
            other = Load(backbone, height, load.proxies, load.pictures, load.prototypes)
            trial = _Trial(other)
            (seconds,) = median_seconds(repeats, trial.step)
            name = f"images_s_{backbone}_{height}x{height // 2}"
            rows.append(make_row(name, other.images / seconds, "images/s", anchor))
    return rows


def _do_nothing() -> None:
    """What happens halfway through an epoch where nothing is pruned there."""


def _noise_pictures(load: Load, generator: torch.Generator) -> Pictures:
    """Pictures of noise, each a person of its own: what is shown does not change the work."""
    shape = (load.prototypes, 3, load.height, load.height // 2)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    persons = torch.arange(load.prototypes)
    return Pictures(pixels, persons, torch.zeros_like(persons))

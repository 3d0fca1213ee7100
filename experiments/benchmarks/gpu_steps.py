"""Training steps on a GPU: images a second, and what the KL term adds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.gpu_bench import Bench
from experiments.benchmarks.train import PlainLayout
from fedklpr_flwr.client.drift_penalty import Received, receive
from fedklpr_flwr.client.epoch import TrainingSteps, train_epoch
from fedklpr_flwr.client.local_loss import OBJECTIVES, EpochStart
from fedklpr_flwr.client.optimizer import adam
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.model.device import placed
from fedklpr_flwr.model.shared_model import full_masks
from fedklpr_flwr.model.site import Pictures
from fedklpr_flwr.reid.network import build_network


@dataclass(frozen=True)
class Variant:
    """How a step computes."""

    name: str
    precision: str
    plain_layout: bool = False
    compiled: bool = False


NCHW = Variant("nchw_float32", "float32", plain_layout=True)
FLOAT32 = Variant("last_float32", "float32")
TF32 = Variant("last_tf32", "tf32")
BF16 = Variant("last_bf16", "bfloat16")
COMPILED = Variant("last_bf16_compiled", "bfloat16", compiled=True)


class Trial:
    """A client in the middle of an epoch, one step of the project's own loop at a time."""

    def __init__(
        self, bench: Bench, backbone: str, height: int, batch: int, variant: Variant
    ) -> None:
        compiled = str(variant.compiled).lower()
        self.settings = compose_settings(
            "drawn",
            (
                f"training.device={bench.device.type}",
                f"training.precision={variant.precision}",
                f"training.compile={compiled}",
                f"training.persons={batch // 4}",
                f"training.max_batches={bench.sizes.loop_batches}",
            ),
        )
        network = build_network(backbone, weights=None, generator_seed=0)
        if variant.plain_layout:
            network = PlainLayout(network.backbone, network.feature_dim)
        self.network = placed(network, self.settings.training, bench.device)
        if variant.plain_layout:
            network.to(memory_format=torch.contiguous_format)
        self.batch, self._device = batch, bench.device
        generator = torch.Generator().manual_seed(0)
        shape = (bench.sizes.pictures, 3, height, height // 2)
        pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        persons = torch.arange(len(pixels)) // 4  # four pictures of each
        self.train = Pictures(pixels, persons, torch.zeros_like(persons))
        self.features = functional.normalize(
            torch.randn(len(pixels), network.feature_dim, generator=generator), dim=1
        ).to(bench.device)
        start = EpochStart(network, self.train, self.features, persons, self.settings, generator)
        self._generator = generator
        self.objective = OBJECTIVES["camera_proxies"](start)
        self.optimizer = adam(network, self.settings.training, 1e-5)
        self.masks = {
            name: torch.rand(mask.shape, generator=generator) < 0.7
            for name, mask in full_masks(network, self.settings).items()
        }
        self.images = torch.randn(batch, 3, height, height // 2, generator=generator)
        self.images = self.images.to(bench.device)
        self.indices = torch.arange(batch)
        self.network.train()

    def steps(self, received: Received | None = None, *, weight: float = 0.0) -> TrainingSteps:
        """Steps with the KL term where there is a reference."""
        frozen = received or Received(self.network, {}, None)
        return TrainingSteps(
            self.network,
            self.objective,
            self.optimizer,
            frozen,
            self.masks,
            self.settings,
            weight,
        )

    def take(self, steps: TrainingSteps) -> Callable[[], None]:
        """One step on pictures that are there already."""
        return partial(steps.take, self.images, self.indices)

    def epoch(self) -> None:
        """An epoch, loading and augmenting included."""
        train_epoch(
            self.network,
            self.train,
            self.objective,
            self.optimizer,
            Received(self.network, {}, None),
            self.masks,
            self.settings,
            drift_weight=0.0,
            marked={},
            extrusion=0.0,
            copies=4,
            generator=self._generator,
            halfway=lambda: None,
        )

    def flops(self) -> float:
        """Of the network's forward and backward pass of one batch."""
        with FlopCounterMode(display=False) as counter:
            self.network(self.images).sum().backward()
        self.optimizer.zero_grad(set_to_none=True)
        return float(counter.get_total_flops())


def step_rate(bench: Bench, backbone: str, height: int, batch: int, variant: Variant) -> None:
    """Images a second of a training step."""
    trial = Trial(bench, backbone, height, batch, variant)
    seconds = bench.seconds(trial.take(trial.steps()))
    flops = trial.flops()
    bench.add(
        f"step_{backbone}_{height}x{height // 2}_b{batch}_{variant.name}",
        batch / seconds,
        "images/s",
        ms=1000 * seconds,
        tflops=flops / seconds / 1e12,
        of_bf16=flops / seconds / bench.bf16_flops,
    )


def loop_rate(bench: Bench, backbone: str, height: int, batch: int, variant: Variant) -> None:
    """Images a second of an epoch."""
    trial = Trial(bench, backbone, height, batch, variant)
    seconds = bench.seconds(trial.epoch, times=1)
    batches = bench.sizes.loop_batches
    name = f"loop_{backbone}_{height}x{height // 2}_b{batch}_{variant.name}"
    bench.add(name, batches * batch / seconds, "images/s", ms=1000 * seconds / batches)


def kl_overhead(bench: Bench, backbone: str, height: int, batch: int, variant: Variant) -> None:
    """What the KL term adds to a step, with the received model and with its cached features."""
    trial = Trial(bench, backbone, height, batch, variant)
    received = receive(trial.network, "eval", None)
    cached = Received(received.network, received.parameters, trial.features)
    bare = bench.seconds(trial.take(trial.steps()))
    for name, reference in (("received", received), ("cached", cached)):
        seconds = bench.seconds(trial.take(trial.steps(reference, weight=0.13)))
        bench.add(f"kl_{name}_{backbone}_{variant.name}", seconds / bare - 1, "of a step")

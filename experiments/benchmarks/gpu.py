"""What one GPU makes of a client's training: rates, images a second, and a round of eight clients.

    python -m experiments.benchmarks.gpu --out gpu.json --seconds 300
    python -m experiments.benchmarks.gpu --quick        # tiny sizes, also on a CPU

Needs no Flower, no network and no data set: pictures are drawn here, weights are random. The most
important rows come first; rows for which no time is left are named, a row that fails says why, and
the file is written after every row.

    tflops_*       a square matrix product, the anchor of all that follows
    step_*         forward, backward and Adam of the project's own training step, images a second;
                   `of_bf16` = its FLOP/s over those of the measured bfloat16 product
    loop_*         the same with pictures loaded and augmented by the host, as an epoch does
    kl_*           what the KL term adds to a step, over the step without it
    round_*        seconds of one FedKLPR round, clients one after another, wire included
"""

import argparse
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.train import PlainLayout
from fedklpr_flwr.algorithm.pruning import mask_hash
from fedklpr_flwr.federation.client_memory import payload_name
from fedklpr_flwr.federation.device import placed
from fedklpr_flwr.federation.drift import Received, receive
from fedklpr_flwr.federation.local_epoch import TrainingSteps, adam, train_epoch
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.objectives import OBJECTIVES, EpochStart
from fedklpr_flwr.federation.personal_model import (
    float_state,
    full_masks,
    initial_network,
    shared_layout,
)
from fedklpr_flwr.federation.site import Pictures, Site
from fedklpr_flwr.federation.site_client import SiteClient, Task
from fedklpr_flwr.reid.network import build_network
from fedklpr_flwr.settings import compose_settings
from fedklpr_flwr.wire.codec import encode

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How large everything is; `quick` is for a look at whether it runs."""

    product: int = 8192
    copied_mb: int = 1024
    repeats: int = 15
    times: int = 4
    warm: int = 3
    pictures: int = 700
    loop_batches: int = 12
    main: tuple[str, int] = ("resnet50", 256)
    backbones: tuple[str, ...] = ("resnet50", "resnet18", "resnet34", "mobilenet_v2")
    heights: tuple[int, ...] = (256, 128)
    batches: tuple[int, ...] = (32, 64)
    clients: int = 8
    persons: int = 50
    compiles: bool = True


QUICK = Sizes(
    product=128,
    copied_mb=1,
    repeats=1,
    times=1,
    warm=1,
    pictures=32,
    loop_batches=1,
    main=("small", 32),
    backbones=("small",),
    heights=(32,),
    batches=(8,),
    clients=2,
    persons=4,
    compiles=False,
)


@dataclass
class Bench:
    """One run of the benchmark on one device."""

    sizes: Sizes
    device: torch.device
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    bf16_flops: float = float("nan")

    @cached_property
    def header(self) -> Row:
        """What it runs on."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "numpy": np.__version__,
            "threads": torch.get_num_threads(),
        }

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], *, times: int | None = None) -> float:
        """Median wall seconds of a piece of work, done `times` at a stretch between two waits."""
        times = times or self.sizes.times
        for _ in range(self.sizes.warm):
            work()
        taken = []
        for _ in range(self.sizes.repeats):
            self.wait()
            started = time.perf_counter()
            for _ in range(times):
                work()
            self.wait()
            taken.append((time.perf_counter() - started) / times)
        return statistics.median(taken)

    def add(self, name: str, value: float, unit: str, **more: float) -> None:
        """Keep a row and print it."""
        row = {"name": name, "value": value, "unit": unit, **more}
        self.rows.append(row)
        extra = "  ".join(f"{key} {number:.4g}" for key, number in more.items())
        print(f"{name:46}{value:12.5g} {unit:10} {extra}", flush=True)

    def to_dict(self) -> Row:
        """All of it as plain values."""
        return {
            **self.header,
            "rows": self.rows,
            "failed": self.failed,
            "skipped": self.skipped,
        }


# ---------------------------------------------------------------------------- the device itself


@contextmanager
def _product_precision(kind: str) -> Iterator[torch.dtype]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    try:
        yield torch.bfloat16 if kind == "bf16" else torch.float32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def product_rate(bench: Bench, kind: str) -> None:
    """TFLOP/s of a square matrix product in bf16, tf32 or float32."""
    size = bench.sizes.product
    with _product_precision(kind) as dtype:
        left, right = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
        rate = 2 * size**3 / bench.seconds(partial(torch.mm, left, right))
    if kind == "bf16":
        bench.bf16_flops = rate
    bench.add(f"tflops_{kind}", rate / 1e12, "TFLOP/s", size=size)


def copy_rate(bench: Bench) -> None:
    """Bytes read and written a second, on the device and from pinned memory to it."""
    count = bench.sizes.copied_mb * 2**20 // 4
    source = torch.rand(count, device=bench.device)
    target = torch.empty_like(source)
    seconds = bench.seconds(partial(target.copy_, source))
    bench.add("copy_on_device", 8 * count / seconds / 1e9, "GB/s")
    if bench.device.type == "cuda":
        pinned = torch.rand(count // 8).pin_memory()
        part = target[: count // 8]
        seconds = bench.seconds(partial(part.copy_, pinned, non_blocking=True))
        bench.add("copy_to_device", 4 * (count // 8) / seconds / 1e9, "GB/s")


# ---------------------------------------------------------------------------- training steps


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


# ---------------------------------------------------------------------------- a round


def drawn_pictures(persons: int, height: int, seed: int) -> Pictures:
    """Persons in three bands of colour before four cameras' greys, three pictures each."""
    generator = np.random.default_rng(seed)
    rows = [(p, c) for p in range(persons) for c in range(4) for _ in range(3)]
    pixels = np.empty((len(rows), 3, height, height // 2), np.uint8)
    colours = generator.integers(20, 236, (persons, 3, 3, 1, 1))
    for pixel, (person, camera) in zip(pixels, rows, strict=True):
        pixel[:] = 60 + 40 * camera
        for band, colour in enumerate(colours[person]):
            top = height // 8 + band * height // 4
            pixel[:, top : top + height // 4, height // 8 : 3 * height // 8] = colour
        pixel += generator.integers(0, 20, pixel.shape, np.uint8)
    known = torch.tensor(rows)
    return Pictures(torch.from_numpy(pixels), known[:, 0].clone(), known[:, 1].clone())


def drawn_site(name: str, sizes: Sizes, seed: int) -> Site:
    """A site to train on and to search."""
    height = sizes.main[1]
    test = drawn_pictures(max(2, sizes.persons // 3), height, 100 + seed)
    train = drawn_pictures(sizes.persons, height, seed)
    return Site(name, train, test.subset(torch.arange(0, len(test), 3)), test)


def round_settings(bench: Bench, precision: str) -> Settings:
    """FedKLPR with the KL term and a prune in the round that is timed."""
    backbone, height = bench.sizes.main
    return compose_settings(
        "drawn",
        (
            f"model={backbone}",
            "model.weights=null",
            f"model.height={height}",
            f"model.width={height // 2}",
            f"training.device={bench.device.type}",
            f"training.precision={precision}",
            "training.epochs=1",
            "training.max_batches=null",
            "training.padding=10",
            "method.pruning=always",
            "labels.min_samples=2",
        ),
    )


def round_seconds(bench: Bench, precision: str) -> None:
    """All clients one after another: decode, label, train with KL, prune, score, encode."""
    settings = round_settings(bench, precision)
    network = initial_network(settings, pretrained=False)
    masks = full_masks(network, settings)
    arrays = {name: value.numpy() for name, value in float_state(network).items()}
    known = {name: mask.numpy() for name, mask in masks.items()}
    payload = encode(arrays, known, layout=shared_layout(settings), known_masks=known)
    task = Task("bench", 2, 0, mask_hash(masks), payload_name(payload), full=False)
    sites = [drawn_site(f"site{n}", bench.sizes, n) for n in range(bench.sizes.clients)]
    phases: dict[str, float] = {}
    with TemporaryDirectory() as memory:
        warm = SiteClient(sites[0], settings, Path(memory) / "warm")
        warm.train(task, payload)
        bench.wait()
        started = time.perf_counter()
        for site in sites:
            _, said = SiteClient(site, settings, Path(memory)).train(task, payload)
            for phase, seconds in said["seconds"].items():
                phases[phase] = phases.get(phase, 0.0) + seconds
        total = time.perf_counter() - started
    name = f"round_{len(sites)}_clients_{settings.model.backbone}_{precision}"
    other = total - sum(phases.values())
    pictures = sum(len(site.train) for site in sites)
    more = {**phases, "wire_and_rest": other, "pictures": pictures, "clusters": said["clusters"]}
    bench.add(name, total, "s", **more)


# ---------------------------------------------------------------------------- all of it


def items(bench: Bench) -> list[tuple[str, Callable[[], None]]]:
    """Every measurement by name, the most important first."""
    sizes = bench.sizes
    backbone, height = sizes.main
    small = sizes.batches[0]
    found: list[tuple[str, Callable[[], None]]] = [
        ("tflops_bf16", partial(product_rate, bench, "bf16")),
        ("tflops_tf32", partial(product_rate, bench, "tf32")),
        ("tflops_float32", partial(product_rate, bench, "float32")),
        ("copy", partial(copy_rate, bench)),
    ]

    def step(backbone: str, height: int, batch: int, variant: Variant) -> None:
        name = f"step_{backbone}_{height}_b{batch}_{variant.name}"
        found.append((name, partial(step_rate, bench, backbone, height, batch, variant)))

    for variant in (BF16, NCHW, FLOAT32, TF32):
        step(backbone, height, small, variant)
    for name, work in (("kl", kl_overhead), ("loop", loop_rate)):
        found.append((f"{name}_bf16", partial(work, bench, backbone, height, small, BF16)))
    found.append(("round_bfloat16", partial(round_seconds, bench, "bfloat16")))
    found.append(("kl_float32", partial(kl_overhead, bench, backbone, height, small, FLOAT32)))
    for batch in sizes.batches[1:]:
        for variant in (BF16, FLOAT32, TF32, NCHW):
            step(backbone, height, batch, variant)
    if sizes.compiles:
        step(backbone, height, small, COMPILED)
    found.append(("round_float32", partial(round_seconds, bench, "float32")))
    for variant in (BF16, FLOAT32, NCHW):
        for other in sizes.backbones:
            for size in sizes.heights:
                for batch in sizes.batches:
                    if (other, size) != sizes.main:
                        step(other, size, batch, variant)
    return found


def measure(
    bench: Bench, *, seconds: float, out: Path | None, only: tuple[str, ...] = ("",)
) -> None:
    """Run the measurements whose names begin so, until the time is used up."""
    print("  ".join(f"{key} {value}" for key, value in bench.header.items()), flush=True)
    end = time.monotonic() + seconds
    for name, work in items(bench):
        if not name.startswith(only):
            continue
        if time.monotonic() > end:
            bench.skipped.append(name)
            continue
        try:
            work()
        except Exception as error:
            bench.failed[name] = f"{type(error).__name__}: {error}"[:500]
            print(f"{name}: FAILED\n{traceback.format_exc(limit=-6)}", flush=True)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(bench.to_dict(), indent=1) + "\n", encoding="utf-8")
    if bench.skipped:
        print(f"no time was left for: {', '.join(bench.skipped)}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(bench.to_dict(), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the GPU, or with --quick whatever is here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a JSON file, written after every row")
    parser.add_argument("--seconds", type=float, default=300.0, help="default: 300")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", default=[""], help="names that begin so: step round")
    given = parser.parse_args()
    torch.set_num_threads(1)  # as a client's
    device = torch.device(given.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    bench = Bench(QUICK if given.quick else Sizes(), device)
    measure(bench, seconds=given.seconds, out=given.out, only=tuple(given.only))
    raise SystemExit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()

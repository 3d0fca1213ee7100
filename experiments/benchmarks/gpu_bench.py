"""What all GPU measurements share: sizes, a clock that waits for the device, rows; its rates."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

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

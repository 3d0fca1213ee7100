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
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from experiments.benchmarks.gpu_bench import QUICK, Bench, Sizes, copy_rate, product_rate
from experiments.benchmarks.gpu_rounds import round_seconds
from experiments.benchmarks.gpu_steps import (
    BF16,
    COMPILED,
    FLOAT32,
    NCHW,
    TF32,
    Variant,
    kl_overhead,
    loop_rate,
    step_rate,
)


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

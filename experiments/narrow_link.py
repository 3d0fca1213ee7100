"""A round of a ResNet-50 over narrow lines: dense FedAvg, FedKLPR at half of the weights, changes.

    python experiments/narrow_link.py --mbit 100 --json link.json
    python experiments/narrow_link.py --mbit 10 --boxes 3 --only changes

A real SuperLink and real SuperNodes, on loopback, each behind a proxy that lets so many bits a
second pass each way. Training is one batch and the pictures are few, so that the line shows;
`wire.delta` is off, since after one batch a difference is far smaller than after a real training.
A transfer's seconds are those between its first and its last byte on the line; with several boxes
all figures are those of the one that needed longest.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from experiments.deployment import deployed
from experiments.few_pictures import write_few_pictures
from experiments.one_box import CLIENT, ONE_BOX, measure_all, show
from experiments.slow_link import Burst, SlowLink
from fedklpr_flwr.runs.rows import Row, read_rows

BOXES = (CLIENT, "yard", "hall")
_COMMON = (
    *ONE_BOX,
    "model=resnet50",
    "training.persons=4",
    "federation.rounds=1",
    "wire.delta=false",
)
_HALF = (
    "pruning.rate=0.5",
    "pruning.target=0.5",
    "pruning.first_round=1",
    "pruning.after=null",
    "method.pruning=always",
)
_CHANGES = ("method=fedklprplus", "wire.step.last=1")  # as in any round but the last

CASES: dict[str, tuple[str, ...]] = {
    "FedAvg, dense, float32": ("method=fedavg",),
    "FedKLPR, 50 % pruned, float32": _HALF,
    "FedKLPR, 50 % pruned, bfloat16": (*_HALF, "wire.values=bfloat16"),
    "FedKLPR+, changes": _CHANGES,
    "FedKLPR+, 50 % pruned by one mask, changes": (*_HALF, *_CHANGES, "pruning.masks=consensus"),
}


@dataclass(frozen=True)
class Crossing:
    """One round on the line.

    Attributes:
        case: a name of CASES.
        pruned: share of the prunable weights.
        up_mb: the update, in 10^6 bytes on the line.
        up_seconds: how long it took.
        down_mb: the merged model going down.
        down_seconds: how long it took.
        round_seconds: the whole round by the server's clock, processes and training included.
        client_seconds: what of it the client's own work was.
        dense_seconds: of 4 bytes a number at the line's rate, up and down: by arithmetic.
    """

    case: str
    pruned: float
    up_mb: float
    up_seconds: float
    down_mb: float
    down_seconds: float
    round_seconds: float
    client_seconds: float
    dense_seconds: float


def cross(case: str, mbit: float, boxes: Sequence[str], folder: Path) -> Crossing:
    """Run one round of a case, and read the lines and the run folder.

    Args:
        case: a name of CASES.
        mbit: each line's rate each way, in 10^6 bits a second.
        boxes: of BOXES.
        folder: an absolute, empty folder.
    """
    rate = mbit * 1e6 / 8
    pictures, out = folder / "pictures", folder / "out"
    write_few_pictures(pictures)
    clients = ",".join(f"{{name: {box}, reader: folder, folder: null}}" for box in boxes)
    there = (f"data.clients=[{clients}]", f"federation.min_clients={len(boxes)}")
    with deployed(folder) as made, ExitStack() as stack:
        links = {box: stack.enter_context(SlowLink(made.port, up=rate, down=rate)) for box in boxes}
        for box, link in links.items():
            made.node(box, "folder", port=link.port, root=str(pictures))
        run = made.run(out, [*_COMMON, *there, *CASES[case]])
        made.wait(lambda: run.finished, 900, f"{case} is not finished")
        bursts = {box: (link.bursts_up, link.bursts_down) for box, link in links.items()}
    rows = read_rows(out / "run.jsonl")
    found = [_crossing(case, rate, rows, box, *bursts[box]) for box in boxes]
    return max(found, key=lambda crossing: crossing.up_seconds + crossing.down_seconds)


def _crossing(
    case: str,
    rate: float,
    rows: Sequence[Row],
    box: str,
    up: Sequence[Burst],
    down: Sequence[Burst],
) -> Crossing:
    (client,) = [row for row in rows if row.round == 1 and row.client == box]
    (whole,) = [row for row in rows if row.round == 1 and row.client is None]
    sent = max(up, key=lambda burst: burst.size)
    later = [burst for burst in down if burst.start > sent.start]
    came = max(later, key=lambda burst: burst.size)
    return Crossing(
        case=case,
        pruned=client.pruned,
        up_mb=sent.size / 1e6,
        up_seconds=sent.seconds,
        down_mb=came.size / 1e6,
        down_seconds=came.seconds,
        round_seconds=sum(whole.seconds.values()),
        client_seconds=sum(client.seconds.values()),
        dense_seconds=client.bytes_dense / rate,
    )


def markdown(crossings: Sequence[Crossing]) -> list[str]:
    """The table of docs/field.md."""
    lines = [
        "| | pruned | up | down | transfer | whole round | plain float32 |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.case} | {c.pruned:.0%} | {c.up_mb:.1f} MB, {c.up_seconds:.1f} s "
        f"| {c.down_mb:.1f} MB, {c.down_seconds:.1f} s | {c.up_seconds + c.down_seconds:.1f} s "
        f"| {c.round_seconds:.0f} s | {c.dense_seconds:.1f} s |"
        for c in crossings
    ]
    return lines


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mbit", type=float, default=100.0, help="the line's rate (default 100)")
    parser.add_argument(
        "--boxes", type=int, choices=range(1, len(BOXES) + 1), default=1, help="each with a line"
    )
    parser.add_argument("--only", default="", help="cases that have this in their names")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    asked = parser.parse_args()
    boxes, cases = BOXES[: asked.boxes], [case for case in CASES if asked.only in case]
    if not cases:
        parser.error(f"--only {asked.only}: no case has it in its name: {', '.join(CASES)}")
    found = measure_all(cases, lambda case, folder: cross(case, asked.mbit, boxes, folder))
    show(found, markdown(found), asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Many real boxes on one machine: a SuperLink, N SuperNodes and a run of the small network.

    python -m experiments.many_boxes --boxes 64 --json many.json

Every box has the same few pictures of noise and its own name, memory and process, and starts a
client app of its own for each message, as boxes do. A client app takes half a gigabyte while it
works: so many are asked at a time (--at-once). Told are the memory of the SuperLink, of the server
app and of a SuperNode, the rounds' seconds, and who was not merged of those that were to train.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.deployment import Deployment, Unit, deployed
from experiments.few_pictures import write_few_pictures
from experiments.one_box import ONE_BOX, show
from fedklpr_flwr.launch.end_processes import processes_of
from fedklpr_flwr.runs.rows import Row, read_rows

_RUN = (
    *(word for word in ONE_BOX if not word.startswith(("data.clients", "federation."))),
    "model=small",
    "model.height=32",
    "model.width=16",
    "training.epochs=1",
)
_SERVER_APP, _CLIENT_APP = "flwr-serverapp", "flwr-clientapp"
_EVERY = 2.0
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Crowd:
    """How a run of many boxes went.

    Attributes:
        boxes: how many.
        fraction: share of them that was to train in a round.
        at_once: how many were asked at a time.
        asked: how many were, round by round.
        merged: how many of these were merged.
        seconds: of each round, by the server's clock.
        together_seconds: from the first SuperNode's start until all had started.
        superlink_mb: its memory at rest, then at most, in 10^6 bytes; of pages that processes
            share, each counts its part.
        server_app_mb: of the run's server app, at most.
        supernode_mb: of one SuperNode at rest, without a client app; the mean.
        client_app_mb: of the first box's client app while all work, at most.
    """

    boxes: int
    fraction: float
    at_once: int
    asked: tuple[int, ...]
    merged: tuple[int, ...]
    seconds: tuple[float, ...]
    together_seconds: float
    superlink_mb: tuple[float, float]
    server_app_mb: float
    supernode_mb: float
    client_app_mb: float

    @property
    def is_whole(self) -> bool:
        """Whether everybody who was asked to train was merged, in every round."""
        return bool(self.asked) and self.asked == self.merged


def gather(boxes: int, fraction: float, at_once: int, rounds: int, folder: Path) -> Crowd:
    """Run so many boxes for so many rounds.

    Args:
        boxes: how many SuperNodes.
        fraction: `federation.fraction`; the model is evaluated by who trains next.
        at_once: `federation.at_once`.
        rounds: `federation.rounds`.
        folder: an absolute, empty folder.
    """
    pictures, out = folder / "pictures", folder / "out"
    write_few_pictures(pictures, height=32, width=16)
    names = [f"box{number}" for number in range(boxes)]
    clients = ", ".join(f"{{name: {name}, reader: folder, folder: null}}" for name in names)
    with deployed(folder) as made:
        begin, rest = time.monotonic(), _own_memory(made.superlink.pid)
        nodes = _start(made, names, pictures, at_once)
        together = time.monotonic() - begin
        small = sum(_memory(node) for node in nodes) / boxes
        words = [
            *_RUN,
            f"data.clients=[{clients}]",
            f"federation.rounds={rounds}",
            f"federation.fraction={fraction}",
            f"federation.at_once={at_once}",
            "federation.evaluate=next",
            "federation.wait_seconds=900",
        ]
        run = made.run(out, words)

        peak = [0.0, 0.0, 0.0]
        looked = 0.0

        def over() -> bool:
            nonlocal looked
            if time.monotonic() > looked + _EVERY:
                link = _own_memory(made.superlink.pid)
                apps = _memory(nodes[0], _CLIENT_APP)
                peak[:] = map(max, peak, (link, _memory(made.superlink, _SERVER_APP), apps))
                looked = time.monotonic()
            return run.finished

        made.wait(over, 7200, "the run is not finished")
    rows = [row for row in read_rows(out / "run.jsonl") if row.round]
    return Crowd(
        boxes=boxes,
        fraction=fraction,
        at_once=at_once,
        asked=_count(rows, lambda row: row.status != "absent"),
        merged=_count(rows, lambda row: row.status == "merged"),
        seconds=tuple(sum(row.seconds.values()) for row in rows if row.client is None),
        together_seconds=together,
        superlink_mb=(rest, peak[0]),
        server_app_mb=peak[1],
        supernode_mb=small,
        client_app_mb=peak[2],
    )


def _start(made: Deployment, names: Sequence[str], pictures: Path, at_once: int) -> list[Unit]:
    """Start a SuperNode a name, so many at a time: 64 together are too slow for Flower itself."""
    nodes: list[Unit] = []
    for first in range(0, len(names), at_once):
        some = [
            made.node(name, "folder", root=str(pictures)) for name in names[first : first + at_once]
        ]
        nodes += some
        made.wait(
            lambda some=some: all("Starting Flower SuperNode" in node.text() for node in some),
            600,
            "a SuperNode has not started",
        )
    return nodes


def _count(rows: Sequence[Row], is_so: Callable[[Row], bool]) -> tuple[int, ...]:
    """How many clients' rows of each round are so."""
    numbers = sorted({row.round for row in rows})
    return tuple(sum(is_so(r) for r in rows if r.client and r.round == n) for n in numbers)


def _memory(unit: Unit, word: str = "") -> float:
    """Memory of a unit's processes whose command has a word, in 10^6 bytes."""
    return sum(_own_memory(pid) for pid in processes_of(unit.home) if word in _command(pid))


def _own_memory(pid: int) -> float:
    """A process's memory in 10^6 bytes, its part of what it shares with others; 0 once it ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return ""


def markdown(found: Sequence[Crowd]) -> list[str]:
    """The table of docs/scale.md."""
    lines = [
        "| boxes, at once | asked; merged | SuperLink: idle, peak | server app | SuperNode "
        "| client app | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.boxes}, {c.at_once} | {', '.join(map(str, c.asked))}; "
        f"{', '.join(map(str, c.merged))} "
        f"| {c.superlink_mb[0]:.0f} MB, {c.superlink_mb[1]:.0f} MB | {c.server_app_mb:.0f} MB "
        f"| {c.supernode_mb:.0f} MB | {c.client_app_mb:.0f} MB "
        f"| {', '.join(f'{s:.0f} s' for s in c.seconds)} |"
        for c in found
    ]
    return lines


def main() -> int:
    """The command line: 0 if everybody who was asked was merged."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boxes", type=int, default=64, help="SuperNodes (default 64)")
    parser.add_argument("--fraction", type=float, default=1.0, help="asked a round (default all)")
    parser.add_argument("--at-once", type=int, default=8, help="asked at a time (default 8)")
    parser.add_argument("--rounds", type=int, default=2, help="of the run (default 2)")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="many-boxes-") as folder:
        crowd = gather(asked.boxes, asked.fraction, asked.at_once, asked.rounds, Path(folder))
    show([crowd], markdown([crowd]), asked.json)
    return 0 if crowd.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())

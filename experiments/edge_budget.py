"""What a client costs the box it runs on: peak memory and start-up, for two networks, two batches.

    python experiments/edge_budget.py --json edge.json

A real SuperLink and one real SuperNode on loopback, two rounds of one batch each, so that all that
a round does is done, the KL term's received model included. Flower starts a process for every
message; its peak is Linux's own high-water mark (VmHWM), read until it ends. Start-up is from the
birth of that process until its log says that training begins.
"""

import argparse
import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.deployment import Deployment, Unit, deployed
from experiments.few_pictures import write_few_pictures
from experiments.one_box import CLIENT, ONE_BOX, measure_all, show
from fedklpr_flwr.launch.end_processes import processes_of
from fedklpr_flwr.runs.rows import read_rows

_COMMON = (*ONE_BOX, "federation.rounds=2")
_LOOK_SECONDS = 0.1
_LARGE = ("model.height=256", "model.width=128")
CASES: dict[str, tuple[str, ...]] = {
    "mobilenet_v2 128x64": ("model=mobilenet_v2",),
    "mobilenet_v2 256x128": ("model=mobilenet_v2", *_LARGE),
    "resnet50 256x128": ("model=resnet50", *_LARGE),
}
BATCHES = (16, 64)


@dataclass(frozen=True)
class Budget:
    """What one network and batch cost.

    Attributes:
        case: a name of CASES.
        batch: pictures.
        train_mb: the peak of the process that trains, in 10^6 bytes.
        evaluate_mb: the peak of the one that evaluates.
        node_mb: the peak of SuperNode and executor, which stay.
        startup_seconds: from a process's birth to the begin of its training.
        client_seconds: the client's own work in a round, start-up not included.
    """

    case: str
    batch: int
    train_mb: float
    evaluate_mb: float
    node_mb: float
    startup_seconds: float
    client_seconds: float


@dataclass
class Watch:
    """Looks at a SuperNode's processes while they live.

    Args:
        node: the SuperNode.
    """

    node: Unit
    peaks: dict[int, float] = field(default_factory=dict)
    born: dict[int, float] = field(default_factory=dict)
    trains: dict[int, float] = field(default_factory=dict)
    _due: float = 0.0

    def look(self) -> None:
        """Note every process's peak so far, and which of them has begun to train since."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _LOOK_SECONDS
        for pid in processes_of(self.node.home):
            with contextlib.suppress(OSError, StopIteration):
                if "flwr-clientapp" in _command(pid) and pid not in self.born:
                    self.born[pid] = time.monotonic() - _age(pid)
                self.peaks[pid] = _peak_mb(pid)
        begun = len(re.findall("training begins", self.node.text()))
        if begun > len(self.trains) and self.born:
            self.trains[max(self.born, key=self.born.__getitem__)] = time.monotonic()

    @property
    def staying_mb(self) -> float:
        """The peak of what is there between messages: SuperNode and executor."""
        return sum(mb for pid, mb in self.peaks.items() if pid not in self.born)

    @property
    def startups(self) -> list[float]:
        """Seconds from each training process's birth until it trains."""
        return [at - self.born[pid] for pid, at in self.trains.items()]


def measure(case: str, batch: int, folder: Path) -> Budget:
    """Run two rounds with one client, and watch its processes.

    Args:
        case: a name of CASES.
        batch: pictures, a multiple of four.
        folder: an absolute, empty folder.
    """
    pictures, out = folder / "pictures", folder / "out"
    write_few_pictures(pictures)
    with deployed(folder) as made:
        watch = Watch(made.node(CLIENT, "folder", root=str(pictures)))
        made.run(out, [*_COMMON, *CASES[case], f"training.persons={batch // 4}"])
        made.wait(lambda: _finished(made, watch), 1800, f"{case}, batch {batch}: not finished")
    client = [row for row in read_rows(out / "run.jsonl") if row.client == CLIENT]
    trained = [mb for pid, mb in watch.peaks.items() if pid in watch.trains]
    scored = [
        mb for pid, mb in watch.peaks.items() if pid in watch.born and pid not in watch.trains
    ]
    startups = sorted(watch.startups)
    return Budget(
        case=case,
        batch=batch,
        train_mb=max(trained),
        evaluate_mb=max(scored),
        node_mb=watch.staying_mb,
        startup_seconds=startups[len(startups) // 2],
        client_seconds=sum(client[-1].seconds.values()),
    )


def _finished(made: Deployment, watch: Watch) -> bool:
    watch.look()
    return made.units["run"].finished


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def _age(pid: int) -> float:
    """Seconds since a process was born, by the kernel's clock."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return up - ticks / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def markdown(found: Sequence[Budget]) -> list[str]:
    """The table of docs/field.md."""
    lines = [
        "| network | batch | training | evaluation | SuperNode, always | start-up |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {b.case} | {b.batch} | {b.train_mb:.0f} MB | {b.evaluate_mb:.0f} MB "
        f"| {b.node_mb:.0f} MB | {b.startup_seconds:.1f} s |"
        for b in found
    ]
    return lines


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=[*CASES], help="one network; default: all")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    asked = parser.parse_args()
    cases = itertools.product([asked.only] if asked.only else CASES, BATCHES)
    found = measure_all(cases, lambda case, folder: measure(*case, folder))
    show(found, markdown(found), asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Kill what a deployment consists of, again and again, and prove that nothing was lost.

    python experiments/faults.py --faults 20 --seed 0 --json faults.json

A real SuperLink, three SuperNodes (drawn sites, a small network) and `fedklpr run`, on loopback.
In turn, at moments that the seed draws, SIGKILL hits a SuperNode while its client trains, one while
its update is on its way, the SuperLink, and the server app. What was hit is started again as its
supervisor would: SuperNode and SuperLink a little later, the run by `fedklpr run resume=...`.

Exit status 0 only if every fault was injected in the phase it was meant for, every client has
exactly one of merged, failed, late and absent in every round, and the last checkpoint loads.
"""

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.deployment import deployed
from experiments.fault_kinds import INJECT, SITES, Fault, NotInjected, Trial, rows_of
from experiments.slow_link import SlowLink
from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.runs.rows import Row

STATUSES = ("merged", "failed", "late", "absent")

_UP = 400e3
"""Bytes a second of each SuperNode's line: its update is some seconds on its way."""
_RUN = (
    "experiment=smoke",
    "training.max_batches=12",
    "training.device=cpu",
    "report.wandb=off",
)


def run_faults(
    folder: Path, count: int, seed: int, deadline: float
) -> tuple[list[Fault], list[str]]:
    """Inject all faults, wait until the last one is made good, and look for what is wrong.

    Args:
        folder: an absolute, empty folder.
        count: how many faults.
        seed: of the victims and moments.
        deadline: seconds that the server waits in a phase.

    Returns:
        The faults that were injected; and what is wrong, a sentence each.
    """
    faults: list[Fault] = []
    out, wrong = folder / "out", []
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(deployed(folder))
        links = {
            name: stack.enter_context(SlowLink(made.port, up=_UP, down=4 * _UP)) for name in SITES
        }
        for name in SITES:
            made.node(name, f"drawn:{name}", port=links[name].port)
        # More rounds than are needed: a fault takes the round it hits, and at worst the next one.
        rounds = f"federation.rounds={2 * count + 2}"
        made.run(out, [*_RUN, rounds, f"federation.round_seconds={deadline:g}"])
        trial = Trial(made, links, out, random.Random(seed), patience=10 * deadline + 100)
        try:
            for number in range(1, count + 1):
                faults.append(_inject(trial, number))
            merged = trial.merged()
            trial.wait(lambda: trial.written() >= merged, f"round {merged} was not written")
        except (NotInjected, TimeoutError) as error:
            wrong.append(f"fault {len(faults) + 1}: {error}")
    return faults, [*wrong, *unproven(out, faults)]


def deadline_here() -> float:
    """Choose `federation.round_seconds` by how fast this machine is at this moment.

    In a round three boxes each start a process that imports torch and Flower, all at once. Where
    that takes a process alone two seconds, a round ends well within the 30 s that are the least.

    Returns:
        Seconds: twelve starts of such a process, at least 30.
    """
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import fedklpr_flwr.client_app"], check=True)
    return max(30.0, 12 * (time.monotonic() - began))


def _inject(trial: Trial, number: int) -> Fault:
    """One fault, and the wait for the next merge."""
    kind = list(INJECT)[(number - 1) % len(INJECT)]
    fault = INJECT[kind](trial, number, trial.merged() + 1)
    before, since = trial.merged(), time.monotonic()
    print(f"{number:3} {fault.at:7.1f} s  {kind}: {fault.victim}, {fault.moment}", flush=True)
    trial.wait(lambda: trial.merged() > before, "no further round was merged")
    fault.seconds = round(time.monotonic() - since, 1)
    print(f"{'':14} the next round was merged after {fault.seconds:.1f} s", flush=True)
    return fault


def unproven(out: Path, faults: Sequence[Fault], sites: Sequence[str] = SITES) -> list[str]:
    """What is wrong with what a run left; also says in each fault what came of it.

    Args:
        out: the run folder, which no process has open.
        faults: what was injected.
        sites: the clients' names.
    """
    rows = rows_of(out)
    told = Counter((row.round, row.client) for row in rows if row.client is not None)
    last = max((row.round for row in rows), default=-1)
    wrong = [
        f"round {number}, {name}: {told[number, name]} lines, expected one"
        for number in range(last + 1)
        for name in sites
        if told[number, name] != 1
    ]
    wrong += [
        f"round {row.round}, {row.client}: status {row.status!r}, expected one of {STATUSES}"
        for row in rows
        if row.client is not None and row.status not in STATUSES
    ]
    for fault in faults:
        fault.happened = _happened(rows, fault)
    try:
        folder = RunFolder(out)
        with contextlib.closing(folder):
            state = folder.load_state()
            if state.round < max(last, 1):
                wrong.append(f"the last checkpoint is of round {state.round}, rows end at {last}")
            for name, known in state.clients.items():
                held = dict(MaskFile(folder.mask_file(name))) if known.base_round else None
                if held is not None and mask_hash(held) != known.mask_hash:
                    wrong.append(f"{name}'s mask is not the one that the checkpoint names")
    except FedKlprError as error:
        wrong.append(f"the last checkpoint does not load: {error}")
    return wrong


def _happened(rows: Sequence[Row], fault: Fault) -> str:
    """What the lines of a fault's round say."""
    found = {row.client: row for row in rows if row.round == fault.round and row.client}
    counts = Counter(row.status for row in found.values())
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    victim = found.get(fault.victim)
    if victim is None:
        return f"run resumed; round {fault.round}: {words}"
    why = str(victim.failed or "asked again").split("—")[0].strip()
    return f"round {fault.round}: {words}; {fault.victim} {victim.status} ({why})"


def markdown(faults: Sequence[Fault]) -> list[str]:
    """The table of what was done and what came of it."""
    lines = ["| | killed | when | what happened | next merge |", "|---|---|---|---|---|"]
    for fault in faults:
        after = "never" if fault.seconds is None else f"{fault.seconds:.0f} s"
        lines.append(
            f"| {fault.number} | {fault.victim} | {fault.moment} | {fault.happened} | {after} |"
        )
    return lines


def _parse() -> argparse.Namespace:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument("--faults", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of victims and moments (default 0)")
    parser.add_argument(
        "--deadline",
        type=float,
        help="federation.round_seconds; default: what suits this machine at this moment",
    )
    parser.add_argument("--json", type=Path, help="where what happened is written")
    parser.add_argument(
        "--folder", type=Path, help="logs and homes, kept; default: a temporary one"
    )
    return parser.parse_args()


def main() -> int:
    """The command line; the exit status is the proof."""
    asked = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended then, too
    folder = asked.folder.resolve() if asked.folder else Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    deadline = asked.deadline or deadline_here()
    print(f"a phase of a round has {deadline:.0f} s")
    faults, wrong = run_faults(folder, asked.faults, asked.seed, deadline)
    print("\n".join(["", *markdown(faults), ""]))
    if asked.json:
        record = {"seed": asked.seed, "faults": [asdict(fault) for fault in faults], "wrong": wrong}
        asked.json.write_text(json.dumps(record, indent=1) + "\n")
    if wrong:
        print("\n".join([f"NOT proven; logs and the run are in {folder}:", *wrong]))
        return 1
    print(f"{len(faults)} faults injected; every client has one status a round; the model loads")
    if not asked.folder:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

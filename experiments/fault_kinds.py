"""The four faults: which process is killed, at which moment, and how that is known.

A phase is read from the killed side's own words: a client's log says when its training begins and
is over, its line counts the bytes of its update, and the run folder says what the server is at.
"""

import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.deployment import Deployment, Unit
from experiments.slow_link import SlowLink
from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.launch.end_processes import processes_of
from fedklpr_flwr.runs.rows import Row, read_rows

SITES = ("airport", "street", "yard")


class NotInjected(Exception):
    """A fault did not hit the phase it was meant for."""


@dataclass
class Fault:
    """One SIGKILL and what came of it.

    Attributes:
        number: from 1 on.
        kind: one of KINDS.
        victim: the client, or what else was hit.
        round: the round that was open, or the last one where its scores were still awaited.
        at: seconds after the start.
        moment: where in the phase it was.
        happened: what run.jsonl says of it.
        seconds: until the next round was merged; None = never.
    """

    number: int
    kind: str
    victim: str
    round: int
    at: float
    moment: str
    happened: str = ""
    seconds: float | None = None


class Trial:
    """A running deployment, and what its own files say of it.

    Args:
        made: its processes.
        links: each client's line to the SuperLink.
        out: the run folder.
        dice: where the moments come from.
        patience: seconds after which nothing more is expected to happen: several deadlines.
    """

    def __init__(
        self,
        made: Deployment,
        links: dict[str, SlowLink],
        out: Path,
        dice: random.Random,
        patience: float,
    ) -> None:
        self.made, self.links, self.out, self.dice = made, links, out, dice
        self.patience = patience
        self.started = time.monotonic()

    def merged(self) -> int:
        """The last merged round."""
        return int(self._json("state.json").get("round", -1))

    def written(self) -> int:
        """The last round whose rows are written."""
        rounds = [row.round for row in rows_of(self.out) if row.client is None]
        return max(rounds, default=-1)

    def seconds_of(self, phase: str) -> float:
        """How long a phase of a round takes that no fault has made longer."""
        whole = [row for row in rows_of(self.out) if row.client is None and row.round > 0]
        return min((row.seconds.get(phase, 0.0) for row in whole), default=10.0)

    def phase(self) -> str:
        """What the server is at: training, or evaluation after the merge."""
        merged = self.merged()
        if self.written() < merged:
            return f"evaluation of round {merged}"
        return f"training of round {merged + 1}"

    def server_app(self) -> int:
        """The server app's process id, by its own word; 0 where it does not run."""
        status = self._json("status.json")
        pid = int(status.get("pid", 0)) if status.get("status") == "running" else 0
        return pid if pid in processes_of(self.made.superlink.home) else 0

    def wait(self, until: Callable[[], bool], otherwise: str) -> None:
        """Wait, unless the run is over before."""

        def so() -> bool:
            return until() or self.made.units["run"].finished

        self.made.wait(so, self.patience, otherwise)
        if not until():
            raise NotInjected(f"the run ended first: {otherwise}")

    def sleep(self, seconds: float) -> None:
        """Let time pass; whatever ends meanwhile is started again."""
        end = time.monotonic() + seconds
        self.made.wait(lambda: time.monotonic() >= end, seconds + 60, "the clock stands still")

    def _json(self, name: str) -> dict:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.out / name).read_text()))
        return {}


# ---------------------------------------------------------------------------- the four faults


def kill_in_training(trial: Trial, number: int, round_number: int) -> Fault:
    """SIGKILL a SuperNode between two lines of its client: training begins, training is over."""
    name = trial.dice.choice(SITES)
    node = trial.made.units[name]
    seen, found = _next_line(trial, node, round_number, "training begins")
    delay = trial.dice.uniform(0.0, 2.0)
    trial.sleep(delay)
    _kill(node)
    if "training is over" in node.text(seen):
        raise NotInjected(f"{name} had finished training {delay:.1f} s after it began")
    return _fault(trial, number, "training", name, found, f"{delay:.1f} s into its training")


def kill_in_upload(trial: Trial, number: int, round_number: int) -> Fault:
    """SIGKILL a SuperNode when a drawn share of its update has left, by its line's own counter."""
    name = trial.dice.choice(SITES)
    node, link = trial.made.units[name], trial.links[name]
    seen, found = _next_line(trial, node, round_number, "training is over")
    size = int(re.findall(r"(\d+) bytes to send", node.text(seen - 200))[-1])
    trial.wait(lambda: "Sending: train" in node.text(seen), f"{name} sends nothing")
    before, wanted = link.sent_up, trial.dice.uniform(0.1, 0.8) * size
    trial.wait(lambda: link.sent_up - before >= wanted, f"{name} sends too little")
    link.cut()  # a box that goes takes with it what its socket still holds
    _kill(node)
    sent = link.sent_up - before
    if "Sent successfully" in node.text(seen) or sent >= size:
        raise NotInjected(f"{name} had sent all of its {size} bytes")
    return _fault(
        trial, number, "upload", name, found, f"{sent / 1e3:.0f} of {size / 1e3:.0f} kB sent"
    )


def kill_superlink(trial: Trial, number: int, round_number: int) -> Fault:
    """SIGKILL the SuperLink, and with it its executor and the server app."""
    moment, found = _any_moment(trial, round_number)
    _kill(trial.made.superlink)
    return _fault(trial, number, "superlink", "SuperLink", found, moment)


def kill_server_app(trial: Trial, number: int, round_number: int) -> Fault:
    """SIGKILL the server app; the SuperLink stays."""
    moment, found = _any_moment(trial, round_number)
    pid = trial.server_app()
    os.kill(pid, signal.SIGKILL)
    trial.wait(lambda: pid not in processes_of(trial.made.superlink.home), f"{pid} does not end")
    return _fault(trial, number, "serverapp", "server app", found, moment)


INJECT = {
    "training": kill_in_training,
    "upload": kill_in_upload,
    "superlink": kill_superlink,
    "serverapp": kill_server_app,
}


def _next_line(trial: Trial, node: Unit, at_least: int, words: str) -> tuple[int, int]:
    """Wait for a client's line `round N: WORDS`, from now on; where its log stood, and N."""
    since = node.log.stat().st_size
    found: list[int] = []

    def said() -> bool:
        lines = re.findall(rf"round (\d+): {words}.*\n", node.text(since))
        found[:] = [int(number) for number in lines if int(number) >= at_least]
        return bool(found)

    trial.wait(said, f"{node.name} never said {words!r} in round {at_least} or later")
    return node.log.stat().st_size, found[-1]


def _any_moment(trial: Trial, round_number: int) -> tuple[str, int]:
    """Wait for a drawn moment of a drawn phase; the words for it, and the round then open."""
    phase = trial.dice.choice(("train", "evaluate"))
    before = round_number if phase == "evaluate" else round_number - 1
    trial.wait(
        lambda: trial.phase().startswith(phase[:5]) and trial.merged() >= before,
        f"the phase {phase} of round {round_number} never began",
    )
    trial.wait(lambda: trial.server_app() > 0, "no server app runs")
    trial.sleep(trial.dice.uniform(0.0, trial.seconds_of(phase)))
    trial.wait(lambda: trial.server_app() > 0, "no server app runs")
    found = trial.phase()
    return f"in the {found}", int(found.rsplit(" ", 1)[1])


def _kill(unit: Unit) -> None:
    status = unit.kill()
    if status != -signal.SIGKILL:
        raise NotInjected(f"{unit.name} had ended by itself before, with status {status}")


def _fault(
    trial: Trial, number: int, kind: str, victim: str, round_number: int, moment: str
) -> Fault:
    at = round(time.monotonic() - trial.started, 1)
    return Fault(number, kind, victim, round_number, at, moment)


def rows_of(out: Path) -> list[Row]:
    """The rows of a run folder; none where they cannot be read just now."""
    with contextlib.suppress(OSError, ValueError, TypeError, FedKlprError):
        return read_rows(out / "run.jsonl")
    return []

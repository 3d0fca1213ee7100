"""Two rounds of a ResNet-50 over a slow line that breaks in the middle of an upload.

    python -m experiments.broken_link --cut 300 --json broken.json

A real SuperLink and two real SuperNodes on loopback; one of them behind a proxy that lets so many
bits a second pass, each so long on its way. When half of its first update is through, the line
breaks and stays down for `--cut` seconds. Told are the bytes on the line beside the update's own
size (what went twice), how the rounds ended, and when. With `--more 1` the run is resumed for a
third round once the line is back, and waits for the box. Packets are not lost here, since not every
kernel has netem: of a line with loss, `--mbit` is what one TCP connection gets on it, by Mathis et
al. (1997) 1.22 x segment / (round trip x sqrt(loss)): 0.34 Mbit/s at 2 % and 300 ms.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from experiments.deployment import Deployment, deployed
from experiments.few_pictures import write_few_pictures
from experiments.one_box import CLIENT, ONE_BOX, measure_all, show
from experiments.slow_link import SlowLink
from fedklpr_flwr.runs.rows import Row, read_rows

_NEAR = "near"
_RUN = (
    *ONE_BOX,
    f"data.clients=[{{name: {CLIENT}, reader: folder, folder: null}}, "
    f"{{name: {_NEAR}, reader: folder, folder: null}}]",
    "model=resnet50",
    "training.persons=4",
    "federation.rounds=2",
)
_CHANGES = ("method=fedklprplus",)
_DENSE = ("method=fedavg", "wire.delta=false")
_HALF = {_CHANGES: 1_500_000, _DENSE: 39_000_000}
"""Bytes of half an update, told in the table."""
_BOTH = ("federation.min_clients=2", "federation.wait_seconds=900")
"""The rounds that are added wait for the box."""


@dataclass(frozen=True)
class Case:
    """What happens to the line.

    Attributes:
        name: of the table's line.
        mbit: 10^6 bits a second each way.
        round_trip: seconds.
        cut: seconds that the line is down, from the middle of the first update on; 0 = never.
        deadline: `federation.round_seconds`.
        words: the method and what it sends.
    """

    name: str
    mbit: float
    round_trip: float
    cut: float
    deadline: float
    words: tuple[str, ...] = _CHANGES


@dataclass(frozen=True)
class Outcome:
    """How one case went.

    Attributes:
        case: its name.
        update_mb: the first update as it was sent, in 10^6 bytes; of round 2, if round 1 missed it.
        line_mb: what the line carried up from round 1's first byte until that round was merged.
        statuses: of the box behind the line, round by round.
        seconds: of the rounds, by the server's clock.
    """

    case: str
    update_mb: float
    line_mb: float
    statuses: tuple[str, ...]
    seconds: tuple[float, ...]


def cases(mbit: float, round_trip: float, cut: float, patience: float) -> list[Case]:
    """A whole line; one that breaks and is awaited; one that breaks past the deadline.

    And one ten times as fast that breaks in an update of many pieces.
    """
    return [
        Case("whole", mbit, round_trip, 0.0, patience),
        Case(f"{cut:g} s down, awaited", mbit, round_trip, cut, patience),
        Case(f"{cut:g} s down, deadline before", mbit, round_trip, cut, max(30.0, 0.5 * cut)),
        Case(f"dense float32, {10 * mbit:g} Mbit/s", 10 * mbit, round_trip, cut, patience, _DENSE),
    ]


def cross(case: Case, folder: Path, more: int = 0) -> Outcome:
    """Run two rounds of a case, and read the line and the run folder.

    Args:
        case: what happens to the line.
        folder: an absolute, empty folder.
        more: rounds that are added when the line is back.
    """
    pictures, out = folder / "pictures", folder / "out"
    write_few_pictures(pictures)
    rate = case.mbit * 1e6 / 8
    with (
        deployed(folder) as made,
        SlowLink(made.port, up=rate, down=rate, delay=case.round_trip / 2) as link,
    ):
        made.node(CLIENT, "folder", port=link.port, root=str(pictures))
        made.node(_NEAR, "folder", root=str(pictures))
        run = made.run(out, [*_RUN, *case.words, f"federation.round_seconds={case.deadline:g}"])
        before, merged = _line_until_round_1(made, link, out, case)
        made.wait(lambda: run.finished, 3600, f"{case.name} is not finished")
        if more:
            run = made.run(out, [f"federation.rounds={2 + more}", *_BOTH], "more")
            made.wait(lambda: run.finished, 3600, f"{case.name} is not finished after it went on")
    rows = [row for row in read_rows(out / "run.jsonl") if row.round]
    own = [row for row in rows if row.client == CLIENT]
    sent = next((row.bytes_up for row in own if row.bytes_up), 0)
    return Outcome(
        case=case.name,
        update_mb=sent / 1e6,
        line_mb=(merged - before) / 1e6,
        statuses=tuple(row.status for row in own),
        seconds=tuple(sum(row.seconds.values()) for row in rows if row.client is None),
    )


def _line_until_round_1(made: Deployment, link: SlowLink, out: Path, case: Case) -> tuple[int, int]:
    """Break the line as the case says; bytes up before round 1's update and at its merge."""
    file = out / "run.jsonl"

    def rows() -> Sequence[Row]:
        return read_rows(file) if file.exists() else ()

    def seen(number: int) -> Callable[[], bool]:
        return lambda: any(row.round == number for row in rows())

    made.wait(seen(0), 900, "the run has not begun")
    before = link.sent_up
    if case.cut:
        half = _HALF[case.words]
        made.wait(lambda: link.sent_up - before > half, 1800, "no update is on its way")
        link.go_down()
        over = time.monotonic() + case.cut
        made.wait(lambda: time.monotonic() > over, case.cut + 60, "the line is down")
        link.come_up()
    made.wait(seen(1), 3600, "round 1 is not merged")
    return before, link.sent_up


def markdown(found: Sequence[Outcome]) -> list[str]:
    """The table of docs/field.md."""
    lines = [
        "| line | update | on the line up | the box, by rounds | rounds took |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {o.case} | {o.update_mb:.1f} MB | {o.line_mb:.1f} MB | {', '.join(o.statuses)} "
        f"| {', '.join(f'{s:.0f} s' for s in o.seconds)} |"
        for o in found
    ]
    return lines


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mbit", type=float, default=1.0, help="the line's rate (default 1)")
    parser.add_argument("--round-trip", type=float, default=0.3, help="seconds (default 0.3)")
    parser.add_argument("--cut", type=float, default=300.0, help="seconds it is down (default 300)")
    parser.add_argument("--more", type=int, default=0, help="rounds once the line is back (0)")
    parser.add_argument("--only", default="", help="cases whose name has this in it (all)")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    asked = parser.parse_args()
    patience = 3600.0 + asked.cut
    tried = cases(asked.mbit, asked.round_trip, asked.cut, patience)
    tried = [case for case in tried if asked.only in case.name]
    found = measure_all(tried, partial(cross, more=asked.more))
    show(found, markdown(found), asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

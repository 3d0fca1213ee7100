"""A month of weekly runs on real boxes, in an hour on loopback: what an operator lives with.

    python -m experiments.month --weeks 8 --boxes 6 --seed 0 --json month.json

A SuperLink and boxes as `fedklpr deploy init` writes them (TLS, registered keys, start scripts),
own pictures in folders: drawn people, half of the training pictures there from the first week on,
more each week. Every week a run continues the one before it (`fedklpr run --continue`). In between
a box joins, one leaves and returns, one is started anew as after an update, one loses its disk, and
the SuperLink's certificate is renewed.

Exit status 0 only if every client has exactly one row in every round, every box that was there was
merged in every round, and nothing is left behind: no process, no temporary file, no payload, and of
a box's memories after `fedklpr deploy clean` the newest alone.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from experiments.deployed_folder import Deployed
from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.launch.end_processes import processes_of, stop
from fedklpr_flwr.runs.rows import Row, read_rows
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.paths import user_cache

SITES = ("airport", "campus", "hall", "market", "street", "yard")
_RUN = ("experiment=smoke", "training.device=cpu", "training.max_batches=12", "report.wandb=off")
_SECONDS = 1800.0
_TRIES = 3
_WEEKS = {3: (2, 2, 2, 3, 3, 3), 4: (2, 3, 3, 4, 4, 4), 8: (3, 4, 5, 6, 7, 6)}
"""In which week one joins, leaves, is updated, loses its disk, the certificate is renewed, and
who left returns: by the fewest weeks that it is for."""
_UP_SECONDS, _RESTART_SECONDS = 300.0, 20.0


@dataclass
class Week:
    """What one weekly run came to.

    Attributes:
        number: 1, 2, ...
        events: what happened before it.
        boxes: those that were there.
        rank1: mean over the clients of the last round.
        map: the same.
        pictures_new: training pictures since the run before, by client; null where it has none.
        statuses: how many rows of each status.
        seconds: of the whole command.
        failures: what it said where it failed and was resumed.
    """

    number: int
    events: tuple[str, ...]
    boxes: tuple[str, ...]
    rank1: float | None = None
    map: float | None = None
    pictures_new: dict[str, int | None] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def schedule(weeks: int, boxes: Sequence[str]) -> dict[int, list[tuple[str, str]]]:
    """What happens before each week's run: pairs of an event and its box.

    Args:
        weeks: 3 at least; with 8 the events are those of the long month.
        boxes: 3 names at least; the last joins, the second leaves and returns.
    """
    fewest = max(few for few in _WEEKS if few <= weeks)
    joins, leaves, updated, lost, renewed, returns = _WEEKS[fewest]
    planned: dict[int, list[tuple[str, str]]] = {week: [] for week in range(1, weeks + 1)}
    planned[joins].append(("joins", boxes[-1]))
    planned[leaves].append(("leaves", boxes[1]))
    planned[updated].append(("is updated", boxes[0]))
    planned[lost].append(("loses its disk", boxes[0] if len(boxes) < 4 else boxes[2]))
    planned[renewed].append(("certificate renewed", ""))
    planned[returns].append(("returns", boxes[1]))
    return planned


class Pictures:
    """Drawn people in own folders: training pictures come week by week, the test is there at once.

    Args:
        root: gets a folder a site.
        weeks: by the last of which all pictures are there.
        seed: of the drawings and of which picture comes when.
    """

    def __init__(self, root: Path, weeks: int, seed: int) -> None:
        self.root, self._weeks, self._seed = root, weeks, seed
        self._coming: dict[str, list[tuple[int, PersonImage, Path]]] = {}

    def open(self, site: str) -> Path:
        """Plan a site's pictures; its folder."""
        drawn = read_dataset(f"drawn:{site}", user_cache() / "drawn", seed=self._seed)
        draws = random.Random(f"{self._seed} {site}")
        shuffled = draws.sample(drawn.train, len(drawn.train))
        later = len(shuffled) / 2
        self._coming[site] = [
            (
                1 if number < later else 1 + int((number - later) / later * self._weeks),
                image,
                self._place(site, "train", image, number),
            )
            for number, image in enumerate(shuffled)
        ]
        for part in ("query", "gallery"):
            for number, image in enumerate(getattr(drawn, part)):
                self._copy(image, self._place(site, part, image, number))
        return self.root / site

    def bring(self, site: str, week: int) -> None:
        """Lay down the training pictures of all weeks up to this one."""
        for due, image, place in self._coming[site]:
            if due <= week and not place.exists():
                self._copy(image, place)

    def _place(self, site: str, part: str, image: PersonImage, number: int) -> Path:
        name = f"c{image.camera_id}_{number:05}{Path(image.path).suffix}"
        return self.root / site / part / f"p{image.person_id:04}" / name

    @staticmethod
    def _copy(image: PersonImage, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.path, place)


class Month:
    """The federation, and what is done to it.

    Args:
        base: an empty folder for everything.
        boxes: the sites' names.
        weeks: how many weekly runs.
        rounds: of each.
        seed: of pictures and runs.
    """

    def __init__(
        self, base: Path, boxes: Sequence[str], weeks: int, rounds: int, seed: int
    ) -> None:
        self.base, self.boxes, self.rounds, self.seed = base, tuple(boxes), rounds, seed
        self.schedule = schedule(weeks, boxes)
        self.pictures = Pictures(base / "pictures", weeks, seed)
        self.weeks: list[Week] = []
        self.wrong: list[str] = []
        self._nodes: dict[str, int] = {}
        first = {name: self._keys(name) for name in boxes[:-1]}
        self.made = Deployed(base / "federation", "street", first, base / "cache")

    def live(self) -> None:
        """All weeks, one after the other."""
        with self.made:
            self._open_office(self.boxes[:-1])
            for number, events in self.schedule.items():
                for event, box in events:
                    self._happen(event, box)
                self._run(number, tuple(f"{box} {event}".strip() for event, box in events))
            self._stop(*self._nodes)
            self._clean()
        self._look_for_leftovers()

    def _keys(self, name: str) -> dict[str, str]:
        root = self.pictures.open(name)
        self.pictures.bring(name, 1)
        return {"data": "folder", "root": str(root)}

    def _open_office(self, boxes: Sequence[str]) -> None:
        self.made.start("office")
        self._office = len(self.made.processes) - 1
        self.made.register()
        self._start(*boxes)

    def _start(self, *boxes: str) -> None:
        """Start boxes, as often as their services would: one that ended hard is refused a while."""
        end = time.monotonic() + _UP_SECONDS
        logs = {name: self._begin(name) for name in boxes}
        while waiting := [name for name in boxes if "SuperNode ID" not in logs[name].read_text()]:
            if time.monotonic() > end:
                raise TimeoutError(f"{waiting[0]} is not up:\n{logs[waiting[0]].read_text()}")
            time.sleep(1.0)
            for name in waiting:
                if self.made.processes[self._nodes[name]].poll() is not None:
                    time.sleep(_RESTART_SECONDS)
                    logs[name] = self._begin(name)

    def _begin(self, name: str) -> Path:
        log = self.made.start(f"sites/{name}")
        self._nodes[name] = len(self.made.processes) - 1
        return log

    def _stop(self, *boxes: str) -> None:
        for name in [*boxes]:
            stop(self.made.processes[self._nodes.pop(name)])

    def _happen(self, event: str, box: str) -> None:
        there = tuple(self._nodes)
        if event == "leaves":
            self._stop(box)
        elif event == "returns":
            self._start(box)
        elif event == "is updated":
            self._stop(box)
            self._start(box)
        elif event == "loses its disk":
            self._stop(box)
            shutil.rmtree(self.made.base / "work" / box)
            self._start(box)
        elif event == "joins":
            self.made.add_site(box, self._keys(box))
            self.made.register()
            self._start(box)
        else:  # the SuperLink starts anew, and its boxes with it, as their services would
            self.made.deploy("renew", self.made.folder)
            self._stop(*there)
            stop(self.made.processes[self._office])
            self._open_office(there)

    def _run(self, number: int, events: tuple[str, ...]) -> None:
        there = tuple(name for name in self.boxes if name in self._nodes)
        for name in there:
            self.pictures.bring(name, number)
        week = Week(number, events, there)
        folder = self._folder(number)
        words = [*_RUN, f"federation.rounds={self.rounds}", f"seed={self.seed}"]
        if number > 1:
            words = ["--continue", str(self._folder(number - 1))]
        words += [f"federation.start_clients={len(there)}", "federation.min_clients=2"]
        began = time.monotonic()
        self._until_finished(week, [*words, "federation.wait_seconds=120"], folder)
        week.seconds = round(time.monotonic() - began, 1)
        rows = read_rows(folder / run_files.ROWS)
        self.wrong += _unaccounted(rows, self.rounds, week)
        _tell(week, rows)
        self.weeks.append(week)
        print(_line(week), flush=True)

    def _until_finished(self, week: Week, words: Sequence[str], folder: Path) -> None:
        """Run; where that fails go on with it, as its service would."""
        given = [*words, f"run.dir={folder}"]
        for _ in range(_TRIES):
            running = self.made.launch(*given)
            said, _ = running.communicate(timeout=_SECONDS)
            if running.returncode == 0:
                return
            lines = said.strip().splitlines()
            week.failures.append(next((s for s in lines if s.startswith("fedklpr:")), lines[-1]))
            print(f"week {week.number}: {week.failures[-1]}", file=sys.stderr, flush=True)
            given = [f"resume={folder}"]
        raise RuntimeError(f"week {week.number} failed {_TRIES} times: {week.failures[-1]}")

    def _folder(self, number: int) -> Path:
        return self.base / "runs" / f"week-{number}"

    def _clean(self) -> None:
        """What an operator does at a month's end."""
        for name in self.boxes:
            memory = self.made.base / "work" / name / "memory"
            self.made.deploy("clean", memory, "--days", "0", "--yes")
            left = sorted(path.name for path in memory.iterdir() if path.is_dir())
            if len(left) != 1:  # the newest, with which the next run goes on
                self.wrong.append(f"{name}: {len(left)} memories are left, expected 1")

    def _look_for_leftovers(self) -> None:
        for home in self.made.homes:
            if left := processes_of(home):
                self.wrong.append(f"processes of {home.name} are left: {left}")
        for path in self.base.rglob("*"):
            if path.suffix == ".tmp" or (path.parent.name == run_files.PAYLOADS and path.is_file()):
                self.wrong.append(f"left behind: {path.relative_to(self.base)}")


def _unaccounted(rows: Sequence[Row], rounds: int, week: Week) -> list[str]:
    """Who has not exactly one row in a round, and which box was there and not merged."""
    wrong = []
    for number in range(1, rounds + 1):
        told = [row for row in rows if row.round == number and row.client]
        named = sorted(str(row.client) for row in told)
        if len({*named}) != len(named) or not {*week.boxes} <= {*named}:
            wrong.append(f"week {week.number}, round {number}: rows of {named}")
        wrong += [
            f"week {week.number}, round {number}: {row.client} was there and is {row.status}"
            for row in told
            if row.client in week.boxes and row.status != "merged"
        ]
        wrong += [
            f"week {week.number}, round {number}: {row.client} was away and is {row.status}"
            for row in told
            if row.client not in week.boxes and row.status != "absent"
        ]
    return wrong


def _tell(week: Week, rows: Sequence[Row]) -> None:
    last = rows[-1]
    week.rank1, week.map = last.rank1, last.map
    for row in rows:
        if row.client and row.round:
            week.statuses[row.status] = week.statuses.get(row.status, 0) + 1
        if row.client in week.boxes and row.round == 0:
            week.pictures_new[str(row.client)] = row.pictures_new


def _line(week: Week) -> str:
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(week.statuses.items()))
    return (
        f"week {week.number}  Rank-1 {week.rank1:.3f}  mAP {week.map:.3f}  {statuses}  "
        f"{week.seconds:.0f} s  {'; '.join(week.events)}"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Live through a month; 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--weeks", type=int, default=8, help="3 to 8")
    parser.add_argument("--boxes", type=int, default=6, help="3 to 6")
    parser.add_argument("--rounds", type=int, default=3, help="of each weekly run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty one, kept; default: a temporary one")
    parser.add_argument("--json", type=Path, help="gets the weeks")
    given = parser.parse_args(words)
    if not 3 <= given.weeks <= 8 or not 3 <= given.boxes <= len(SITES):
        parser.error("expected 3 to 8 weeks and 3 to 6 boxes")
    base = given.folder or Path(tempfile.mkdtemp(prefix="fedklpr-month-"))
    month = Month(base.resolve(), SITES[: given.boxes], given.weeks, given.rounds, given.seed)
    month.live()
    if given.json is not None:
        told = {"weeks": [asdict(week) for week in month.weeks], "wrong": month.wrong}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for sentence in month.wrong:
        print(sentence, file=sys.stderr)
    if given.folder is None and not month.wrong:
        shutil.rmtree(base)
    return 1 if month.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

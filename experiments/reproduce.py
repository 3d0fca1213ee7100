"""The study's tables from nothing: all methods at ten rounds, those that prune at twenty.

    python experiments/reproduce.py               # both tables, through Flower
    python experiments/reproduce.py --resume      # goes on where it stopped
    python experiments/reproduce.py --rounds 20   # the second table alone
    python experiments/reproduce.py --only drawn20/fedklpr --seeds 3 4   # single rows of a study
    python experiments/reproduce.py --experiment smoke --rounds 2 --seeds 0 --transport simulate

It says how long it will take before it starts (--dry-run: and stops there). Each table has a sweep
of its own below --out, with the tables and plots of `fedklpr compare` beside the runs; reproduce.md
joins them, with command and commits. Seeds are 0 1 2, and 0 to 4 where a row decides something (the
table of twenty rounds): with three, one point cannot be told from chance. Each whole run's
run.jsonl goes, compressed, to --results as STUDY/METHOD-seedS.jsonl.gz (raw_results.py). KEY=VALUE
words at the end go to every run (data.root=...).
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.raw_results import difference_table, keep_run, read_study, result_table
from fedklpr_flwr.errors import FedKlprError, RunError, SettingsError
from fedklpr_flwr.launch.sweep_job import BOOK, read_book
from fedklpr_flwr.sweep import values_of
from fedklpr_flwr.system.git_commit import code_commit

LINES: dict[str, tuple[str, ...]] = {
    "fedklpr": ("method=fedklpr",),
    "fedklprplus": ("method=fedklprplus",),
    "fedavg": ("method=fedavg",),
    "fedprox": ("method=fedprox",),
    "fedpav": ("method=fedpav",),
    "fedcapr": ("method=fedcapr",),
    "fedureid": ("method=fedureid",),
    "feducc": ("method=feducc",),
    "feduccplus": ("method=feduccplus",),
    "lotteryfl": ("method=lotteryfl",),
    "lotteryfl_keep": ("method=lotteryfl", "pruning.rewind=false"),
    "subfedavg": ("method=subfedavg",),
    "local_only": ("method=local_only",),
    "centralised": ("method=centralised",),
}
"""The study's lines by name. LotteryFL is compared by the better of rewind and no rewind; the last
two are the ends of the scale, and centralised exists in simulation only."""

BYTES_LINES = ("fedklpr", "fedklprplus", "fedcapr", "lotteryfl", "lotteryfl_keep", "subfedavg")
"""Those whose bytes are compared over twenty rounds, and FedCAPR, which saves none."""

STUDIES: dict[str, tuple[str, int]] = {
    "drawn10": ("drawn", 10),
    "drawn20": ("drawn", 20),
    "real_small12": ("real_small", 12),
    "real_small_unlabelled12": ("real_small_unlabelled", 12),
}
"""What --only calls a study: its experiment and rounds."""

RESULT_NAMES = {"lotteryfl_keep": "lotteryfl_norewind"}
"""Lines whose raw results go by another name."""

SEEDS, DECIDING_SEEDS = (0, 1, 2), (0, 1, 2, 3, 4)

TABLES: dict[int, tuple[str, ...]] = {10: tuple(LINES), 20: BYTES_LINES}

SECONDS_A_ROUND = {"run": 15.0, "simulate": 23.0}
"""Of experiment=drawn, measured: `run` on two quiet cores, `simulate` on one."""


@dataclass(frozen=True)
class Plan:
    """One table.

    Attributes:
        rounds: of every run.
        lines: names of LINES.
        seeds: of every line.
        folder: where its runs and tables go.
        common: overrides of every run, experiment and rounds among them.
    """

    rounds: int
    lines: tuple[str, ...]
    seeds: tuple[int, ...]
    folder: Path
    common: tuple[str, ...]

    @property
    def sweeps(self) -> list[tuple[str, ...]]:
        """Hydra's words: one sweep for the plain methods, one for each line with more overrides.

        Seeds vary slowest, so that what is there after a third of the time is a whole table.
        """
        seeds = f"seed={','.join(map(str, self.seeds))}"
        plain = [LINES[name][0] for name in self.lines if len(LINES[name]) == 1]
        named = ",".join(word.partition("=")[2] for word in plain)
        sweeps = [(*self.common, seeds, f"method={named}")] if plain else []
        longer = [LINES[name] for name in self.lines if len(LINES[name]) > 1]
        return [*sweeps, *((*self.common, seeds, *words) for words in longer)]

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        """All runs, each by the words that tell it from the others: all its overrides."""
        own = [(f"seed={seed}", *LINES[name]) for seed in self.seeds for name in self.lines]
        return {" ".join(sorted(words)): _by_key([*self.common, *words]) for words in own}

    @property
    def named_jobs(self) -> dict[tuple[str, int], dict[str, str]]:
        """All runs by line and seed."""
        return {
            (name, seed): _by_key([*self.common, f"seed={seed}", *LINES[name]])
            for seed in self.seeds
            for name in self.lines
        }

    @property
    def left(self) -> list[str]:
        """The runs that are still to be made."""
        done = [_by_key(line.overrides) for line in read_book(self.folder / BOOK) if line.good]
        return [name for name, overrides in self.jobs.items() if overrides not in done]

    def check_folder(self) -> None:
        """Refuse a folder with runs of another study: one table would hold both.

        Raises:
            RunError: a run there has another experiment, rounds or override than all of these.
        """
        ours = _shared(_by_key(self.common))
        for line in read_book(self.folder / BOOK):
            theirs = _shared(_by_key(line.overrides))
            for key in ours.keys() | theirs.keys():
                there, here = (words.get(key, "as it is by itself") for words in (theirs, ours))
                if there != here:
                    raise RunError(
                        f"{self.folder} holds runs with {key} {there}, and these are to be with "
                        f"{here}: choose another --out"
                    )


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides by key, spelt as Hydra spells them; the last word on a key counts."""
    words = [values[0] for values in values_of(overrides)]
    return dict(word.split("=", 1) for word in words)


def _shared(overrides: dict[str, str]) -> dict[str, str]:
    """Overrides without those that tell a table's runs apart."""
    apart = {word.partition("=")[0] for words in LINES.values() for word in words} | {"seed"}
    return {key: value for key, value in sorted(overrides.items()) if key not in apart}


def plans_of(arguments: argparse.Namespace) -> list[Plan]:
    """The tables that were asked for.

    Raises:
        SettingsError: a line that does not exist, or an override that is not one KEY=VALUE.
    """
    for name in arguments.methods or ():
        if name not in LINES:
            raise SettingsError(f"--methods {name} does not exist; there are: {', '.join(LINES)}")
    for word in arguments.overrides:
        if "=" not in word:
            raise SettingsError(f"expected KEY=VALUE, got {word!r}: for example data.root=/sets")
    for values in values_of(arguments.overrides):
        if len(values) > 1:
            raise SettingsError(
                f"expected one value, got {', '.join(values)}: the runs of a table differ in "
                "method and seed alone"
            )
    if arguments.only:
        return [
            _plan(arguments, *STUDIES[study], lines, study)
            for study, lines in _rows_of(arguments.only).items()
        ]
    tables = TABLES if arguments.rounds is None else {arguments.rounds: ()}
    return [
        _plan(
            arguments,
            arguments.experiment,
            rounds,
            tuple(arguments.methods or TABLES.get(rounds, tuple(LINES))),
            f"rounds-{rounds}",
        )
        for rounds in tables
    ]


def _plan(
    arguments: argparse.Namespace, experiment: str, rounds: int, lines: tuple[str, ...], name: str
) -> Plan:
    own = (f"experiment={experiment}", f"federation.rounds={rounds}")
    decides = experiment == "drawn" and rounds == 20
    seeds = tuple(arguments.seeds or (DECIDING_SEEDS if decides else SEEDS))
    folder = arguments.out.resolve() / name
    return Plan(rounds, lines, seeds, folder, (*own, *arguments.overrides))


def _rows_of(only: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The lines asked for by STUDY/METHOD, by study.

    Raises:
        SettingsError: a study or a line does not exist.
    """
    rows: dict[str, tuple[str, ...]] = {}
    for word in only:
        study, _, line = word.partition("/")
        if study not in STUDIES or line not in LINES:
            raise SettingsError(
                f"--only {word} does not exist: expected STUDY/METHOD, of the studies "
                f"{', '.join(STUDIES)} and the methods {', '.join(LINES)}"
            )
        rows[study] = (*rows.get(study, ()), line)
    return rows


def expected_time(plan: Plan, experiment: str, transport: str, at_once: int) -> str:
    """How long what is left will take, said honestly."""
    count = len(plan.left)
    runs = f"{plan.rounds} rounds: {count} of {len(plan.jobs)} runs are left"
    if not count:
        return runs
    if experiment != "drawn":
        return f"{runs}; how long one takes with experiment={experiment} is not known"
    each = SECONDS_A_ROUND[transport] * plan.rounds
    cores = "two quiet cores" if transport == "run" else "one quiet core"
    side = "" if at_once == 1 else f", {at_once} at once where there are cores for that"
    hours = each * count / at_once / 3600
    return (
        f"{runs}, about {each:.0f} s each on {cores}{side}: about {hours:.1f} hours; "
        "a busy machine takes two or three times as long"
    )


def run_plan(plan: Plan, transport: str, at_once: int) -> bool:
    """Run what is left of a table and compare; whether every run is whole."""
    own = [f"sweep.dir={plan.folder}", "sweep.resume=true", f"sweep.transport={transport}"]
    if at_once > 1:
        own += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_once}"]
    whole = True
    for words in plan.sweeps:
        whole &= _python("-m", "fedklpr_flwr.sweep", "-m", *words, *own) == 0
    place = str(plan.folder)
    return _python("-m", "fedklpr_flwr.commands", "compare", place, "--out", place) == 0 and whole


def keep_results(plan: Plan, results: Path) -> Path | None:
    """Keep the raw rows of a table's whole runs, and what they come to beside them.

    Args:
        plan: the table.
        results: where studies lie, a folder each; the study is called EXPERIMENT and rounds.

    Returns:
        The study's folder; None where no run is whole.
    """
    words = _by_key(plan.common)
    study = results / f"{words['experiment']}{plan.rounds}"
    by_words = {tuple(sorted(found.items())): name for name, found in plan.named_jobs.items()}
    for line in read_book(plan.folder / BOOK):
        named = by_words.get(tuple(sorted(_by_key(line.overrides).items())))
        rows = plan.folder / line.job / "run.jsonl"
        if line.good and named and rows.exists():
            keep_run(rows, study, RESULT_NAMES.get(named[0], named[0]), named[1])
    if not study.exists():
        return None
    found = read_study(study)
    against = "fedcapr" if "fedcapr" in found else next(iter(found))
    tables = [*result_table(found), "", *difference_table(found, against)]
    (plan.folder / "paired.md").write_text("\n".join(tables) + "\n", encoding="utf-8")
    return study


def write_summary(plans: Sequence[Plan], out: Path, command: str) -> Path:
    """Join the tables in one file that says how they were made."""
    made = f"tables made at commit {code_commit()}, {os.cpu_count()} cores"
    parts = ["# The study", f"    {command}\n\n{made}"]
    for plan in plans:
        table, paired = plan.folder / "comparison.md", plan.folder / "paired.md"
        text = table.read_text(encoding="utf-8") if table.exists() else "No run is whole yet.\n"
        parts.append(f"# {plan.rounds} rounds\n\n{text.replace('# Comparison', '').strip()}")
        if paired.exists():
            parts.append(paired.read_text(encoding="utf-8").strip())
    path = out / "reproduce.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _python(*words: str) -> int:
    """Run this Python in a session of its own; a stop is handed on once, and waited for."""
    process = subprocess.Popen([sys.executable, *words], start_new_session=True)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    found.add_argument("--resume", action="store_true", help="go on with what is below --out")
    found.add_argument("--seeds", type=int, nargs="+", help="0 1 2, or 0 to 4 where a row decides")
    found.add_argument("--only", nargs="+", metavar="STUDY/METHOD", help="single rows of a study")
    found.add_argument("--results", type=Path, help="of raw results; results in --out if left out")
    found.add_argument("--methods", nargs="+", help=f"lines: {', '.join(LINES)}")
    found.add_argument("--rounds", type=int, help="one table alone, of so many rounds")
    found.add_argument("--transport", choices=("run", "simulate"), default="run")
    found.add_argument("--experiment", default="drawn")
    found.add_argument("--jobs", type=int, default=1, help="runs at once (extra `sweep`)")
    found.add_argument("--out", type=Path, default=Path("runs") / "reproduce")
    found.add_argument("--dry-run", action="store_true", help="say what would be done")
    found.add_argument("overrides", nargs="*", help="KEY=VALUE for every run")
    return found


def reproduce(arguments: argparse.Namespace, command: str) -> int:
    """Make the tables; the exit status, 0 only where every run is whole.

    Raises:
        RunError: there are runs below --out already, and --resume is not given or they are others.
    """
    plans = plans_of(arguments)
    if not arguments.resume:
        for plan in plans:
            if (plan.folder / BOOK).exists():
                raise RunError(f"{plan.folder} holds runs: go on with --resume, or choose --out")
    for plan in plans:
        plan.check_folder()
    for plan in plans:
        experiment = _by_key(plan.common)["experiment"]
        print(expected_time(plan, experiment, arguments.transport, arguments.jobs))
    if arguments.dry_run:
        for plan in plans:
            print("\n".join(plan.left))
        return 0
    sys.stdout.flush()
    whole = True
    for plan in plans:
        whole &= run_plan(plan, arguments.transport, arguments.jobs)
        keep_results(plan, arguments.results or arguments.out / "results")
    print(f"tables in {write_summary(plans, arguments.out, command)}")
    return 0 if whole else 1


def main() -> None:
    """Run the command line; a known fault is one sentence on stderr and exit status 1."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = shlex.join(["python", "experiments/reproduce.py", *sys.argv[1:]])
    try:
        sys.exit(reproduce(parser().parse_intermixed_args(), command))
    except FedKlprError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        again = command if " --resume" in command else f"{command} --resume"
        print(f"stopped; go on with: {again}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

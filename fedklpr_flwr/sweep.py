"""Hydra's door to many runs: each job of a multirun is one `fedklpr run` in its own folder.

    python -m fedklpr_flwr.sweep -m method=fedklpr,subfedavg pruning.rate=0.05,0.1 seed=0,1,2

A failed job does not stop the rest; the exit status says whether all finished. The same command
with sweep.resume=true keeps finished jobs, goes on with half-done ones and starts the others.
conf/sweep.yaml has the sweep's own keys.
"""

import hashlib
import importlib
import math
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedklpr_flwr.config.compose import configuration_folder, explain
from fedklpr_flwr.errors import FedKlprError, RunError, SettingsError
from fedklpr_flwr.launch.command_line import override
from fedklpr_flwr.launch.sweep_job import BOOK, JobLine, job_name, read_book, run_job
from fedklpr_flwr.report.page.figure_words import duration

TRANSPORTS = ("run", "simulate")
FLAGS = ("-m", "--multirun")

_TAKEN = {
    "run.dir": "each job has its own folder; name the sweep's with sweep.dir=FOLDER",
    "resume": "to go on with a whole sweep repeat its command with sweep.resume=true",
    "hydra.sweep.dir": "name the sweep's folder with sweep.dir=FOLDER",
    "hydra.sweep.subdir": "a job's folder is named by its overrides, so that it is found again",
}


@dataclass(frozen=True)
class Sweep:
    """A command line `-m KEY=A,B ... sweep.KEY=VALUE`, read.

    Attributes:
        words: Hydra's flags and the overrides of the runs.
        folder: the absolute folder of the sweep.
        resume: whether finished jobs are kept.
        transport: the command of `fedklpr` that a job runs.
    """

    words: tuple[str, ...]
    folder: Path
    resume: bool
    transport: str

    @property
    def hydra_words(self) -> list[str]:
        """The command line for Hydra, the sweep's own keys spelt out."""
        own = [f"sweep.resume={str(self.resume).lower()}", f"sweep.transport={self.transport}"]
        own.append(f"sweep.jobs={self.jobs}")
        return [*self.words, override("sweep.dir", self.folder), *own]

    @property
    def jobs(self) -> int:
        """How many combinations there are; 0 where Hydra will refuse a word."""
        try:
            return math.prod(len(values) for values in values_of(self.words))
        except SettingsError:
            return 0

    @property
    def repeat(self) -> str:
        """The command that goes on with this sweep."""
        own = [f"sweep.dir={self.folder}", "sweep.resume=true", f"sweep.transport={self.transport}"]
        words = [word for word in self.words if word not in FLAGS]
        return shlex.join(["python", "-m", "fedklpr_flwr.sweep", "-m", *words, *own])


def read_words(arguments: Sequence[str]) -> Sweep:
    """The sweep that a command line asks for.

    Raises:
        SettingsError: an unknown key or value of the sweep's own, or a key that it sets itself.
    """
    own = {"sweep.dir": "null", "sweep.resume": "false", "sweep.transport": "run"}
    words = []
    for word in arguments:
        key, _, value = word.lstrip("+~").partition("=")
        if key in _TAKEN:
            raise SettingsError(f"{word}: {_TAKEN[key]}")
        if not key.startswith("sweep."):
            words.append(word)
            continue
        if key not in own:
            raise SettingsError(f"there is no key {key}; there are: {', '.join(own)}")
        own[key] = value
    if own["sweep.resume"].lower() not in ("true", "false"):
        raise SettingsError(f"sweep.resume={own['sweep.resume']}: expected true or false")
    if own["sweep.transport"] not in TRANSPORTS:
        raise SettingsError(
            f"sweep.transport={own['sweep.transport']}: expected one of {', '.join(TRANSPORTS)}"
        )
    named = own["sweep.dir"]
    folder = _usual_folder(words) if named in ("null", "") else Path(named)
    return Sweep(
        tuple(words),
        folder.expanduser().resolve(),
        own["sweep.resume"].lower() == "true",
        own["sweep.transport"],
    )


def _usual_folder(words: Sequence[str]) -> Path:
    """runs/sweeps/<keys>-<hash>: the same for the same command, whatever the order of its words."""
    chosen = sorted(word for word in words if "=" in word and not word.startswith("hydra"))
    keys = [word.partition("=")[0] for word in chosen]
    code = hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:8]
    return Path("runs") / "sweeps" / job_name(["-".join([*keys, code])])


def values_of(words: Iterable[str]) -> list[list[str]]:
    """Each override as the words of one value that Hydra makes of it, spelt as Hydra spells them.

    Args:
        words: overrides; flags are left out.

    Returns:
        `[["seed=0", "seed=1"], ["method=fedavg"]]` of `seed=0,1 method=fedavg`.

    Raises:
        SettingsError: a word that is no override.
    """
    parser, found = OverridesParser.create(), []
    for word in words:
        if word.startswith("-"):
            continue
        try:
            one = parser.parse_override(word)
        except HydraException as error:
            raise SettingsError(f"expected KEY=VALUE as Hydra reads it, got {word!r}") from error
        swept = one.is_sweep_override()
        values = one.sweep_string_iterator() if swept else [one.get_value_element_as_str()]
        found.append([f"{one.get_key_element()}={value}" for value in values])
    return found


def own_overrides(task: Iterable[str]) -> list[str]:
    """A job's overrides without the sweep's own keys."""
    return [str(word) for word in task if not str(word).startswith("sweep.")]


# Hydra asks for a job's folder before the job runs, in whichever process or machine it runs.
OmegaConf.register_new_resolver(
    "fedklpr_job", lambda task: job_name(own_overrides(task)), replace=True
)


def job(config: DictConfig) -> str:
    """Hydra's task: one combination, one run; its status."""
    chosen = HydraConfig.get()
    folder, number = Path(chosen.runtime.output_dir), chosen.job.num
    print(f"job {number}: {folder.name}", flush=True)
    line = run_job(
        own_overrides(chosen.overrides.task),
        folder,
        transport=config.sweep.transport,
        resume=config.sweep.resume,
        say=lambda text: print(f"job {number}: {text}", flush=True),
    )
    print(f"job {number}: {describe(line)}", flush=True)
    if left := time_left(read_book(folder.parent / BOOK), config.sweep.jobs):
        print(left, flush=True)
    return line.status


def time_left(lines: Sequence[JobLine], jobs: int) -> str:
    """How many jobs of a sweep are left, and about how long one by one; empty where none is."""
    ended = [line for line in lines if line.status not in ("started", "stopped")]
    took = [line.seconds for line in ended if line.seconds]
    left = jobs - len(ended)
    if left <= 0 or not took:
        return ""
    rest = duration(left * sum(took) / len(took))
    return f"{left} of {jobs} jobs are left, about {rest} one by one"


def describe(line: JobLine) -> str:
    """One job in one line."""
    took = f"  {line.seconds:.0f} s" if line.seconds else ""
    return f"{line.status:8}  {line.job}{took}  {line.message}".rstrip()


def run_sweep(sweep: Sweep) -> int:
    """Run all jobs, print a line for each; the exit status, 0 only where every run is whole.

    Raises:
        RunError: the folder holds a sweep already, and sweep.resume is off.
        SettingsError: a word that Hydra refuses, before any job starts.
    """
    book = sweep.folder / BOOK
    if book.exists() and not sweep.resume:
        raise RunError(
            f"{sweep.folder} already holds a sweep: go on with sweep.resume=true, "
            "or choose another sweep.dir=FOLDER"
        )
    before = book.stat().st_size if book.exists() else 0
    sys.argv[1:] = sweep.hydra_words
    folder = str(configuration_folder())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # a fault comes here, instead of a page and an exit
    try:
        hydra.main(version_base="1.3", config_path=folder, config_name="sweep")(job)()
    except KeyboardInterrupt:
        print(f"stopped; go on with:\n  {sweep.repeat}", flush=True)
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(_in_words(error, sweep)) from error
    lines = read_book(book, after=before)
    if not lines:
        return 0
    print("\n" + "\n".join(describe(line) for line in lines))
    bad = sum(not line.good for line in lines)
    place = shlex.quote(str(sweep.folder))
    print(f"{len(lines) - bad} of {len(lines)} jobs are whole; fedklpr compare {place}")
    if bad:
        print(f"each folder's job.log says why; to try again:\n  {sweep.repeat}")
    return 1 if bad else 0


def _in_words(error: Exception, sweep: Sweep) -> str:
    """Hydra's fault in one sentence; a swept key with the value that is at fault."""
    try:
        words = [word for values in values_of(sweep.words) for word in values]
    except SettingsError as unreadable:
        return str(unreadable)
    return explain(error, words)


def main() -> None:
    """Run the command line; a known fault is one sentence on stderr and exit status 1."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(run_sweep(read_words(sys.argv[1:])))
    except FedKlprError as error:
        print(f"fedklpr_flwr.sweep: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    # Through the module's own name: Hydra's launchers hand `job` to other processes by that name.
    importlib.import_module("fedklpr_flwr.sweep").main()

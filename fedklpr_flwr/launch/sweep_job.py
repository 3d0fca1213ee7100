"""One job of a sweep: a `fedklpr run` in a process and a folder of its own, and what came of it.

The sweep's book is sweep.jsonl in the sweep's folder, one JSON object a line; a job's last line
counts: started | finished | kept (was finished before) | failed | stopped.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.launch.command_line import override
from fedklpr_flwr.launch.end_processes import end_with_launcher, end_with_parent
from fedklpr_flwr.runs.run_record import read_run
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import open_unlinked

BOOK = "sweep.jsonl"

_STOP_SECONDS = 90.0
_LONGEST_NAME = 150
_BOOL = re.compile(r"=(True|False)$")
_ROUND = re.compile(r"round +\d+/")
_UNSAFE = re.compile(r"[^\w.,=+-]+")


@dataclass(frozen=True)
class JobLine:
    """One line of sweep.jsonl.

    Attributes:
        job: the job's name, which is its folder's below the sweep's.
        status: started, finished, kept, failed or stopped.
        overrides: what the run was given.
        seconds: wall seconds of this try.
        message: why it failed; the last accuracy where it finished.
    """

    job: str
    status: str
    overrides: list[str]
    seconds: float = 0.0
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether the job's run is whole."""
        return self.status in ("finished", "kept")


def job_name(overrides: Sequence[str]) -> str:
    """A folder name that is the same whenever the same overrides come again, in any order.

    Characters that a folder name should not have become `_`; a name that was changed or cut ends
    in a hash of the whole, so that two jobs never share a folder.
    """
    # Hydra writes false of a command line as False.
    words = [_BOOL.sub(lambda found: found[0].lower(), word) for word in overrides]
    whole = ",".join(sorted(words)) or "defaults"
    name = _UNSAFE.sub("_", whole)
    if name == whole and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def run_job(
    overrides: Sequence[str],
    folder: Path,
    *,
    transport: str,
    resume: bool,
    say: Callable[[str], None],
) -> JobLine:
    """Run one job to its end, write its lines into the book, and never raise for its failure.

    Args:
        overrides: the run's, without run.dir.
        folder: the job's folder, which becomes the run folder.
        transport: run or simulate: the command of `fedklpr`.
        resume: keep a finished run, go on with a half-done one.
        say: gets a line of progress.

    Raises:
        KeyboardInterrupt: it was stopped by hand; its process has ended, and the book says so.
    """
    book, words = folder.parent / BOOK, list(overrides)
    if resume and (ended := _finished(folder)) is not None:
        line = JobLine(folder.name, "kept", words, 0.0, ended)
        append_line(book, line)
        return line
    append_line(book, JobLine(folder.name, "started", words))
    half_done = resume and (folder / run_files.STATE).exists()
    place = override("resume" if half_done else "run.dir", folder)
    began = time.monotonic()
    status, message = "stopped", "stopped by hand"
    try:
        code = _follow(
            [transport, *([] if half_done else words), place], folder / run_files.JOB_LOG, say
        )
        ended = _finished(folder) if code == 0 else None
        status = "failed" if ended is None else "finished"
        message = ended or _reason(folder / run_files.JOB_LOG, code)
    finally:
        line = JobLine(folder.name, status, words, round(time.monotonic() - began, 1), message)
        append_line(book, line)
    return line


def append_line(book: Path, line: JobLine) -> None:
    """Append to the book in one write; jobs of several processes share it."""
    with open_unlinked(book, append=True) as file:
        file.write(f"{json.dumps(asdict(line))}\n".encode())


def read_book(book: Path, *, after: int = 0) -> list[JobLine]:
    """The last line of each job, in the order in which the jobs first came.

    Args:
        book: a sweep.jsonl; it need not exist.
        after: bytes at its beginning to leave out.
    """
    text = book.read_bytes()[after:].decode() if book.exists() else ""
    last: dict[str, JobLine] = {}
    for line in text.splitlines():
        try:
            found = JobLine(**json.loads(line))
        except (ValueError, TypeError):
            continue  # a killed sweep's half-written line: its job counts as started
        last[found.job] = found
    return list(last.values())


def _finished(folder: Path) -> str | None:
    """The last accuracy of a run with all its rounds; None where it is not finished."""
    try:
        run = read_run(folder)
    except FedKlprError:
        return None
    if not run.complete:
        return None
    rank1 = run.final.rank1
    return f"rounds {run.rounds}" + ("" if rank1 is None else f", Rank-1 {rank1:.3f}")


def _follow(words: list[str], log: Path, say: Callable[[str], None]) -> int:
    """Run `fedklpr WORDS` in a session of its own; its output goes to the log, its rounds to say.

    Ctrl-C at the terminal reaches this process alone; it hands the stop on and waits. Where this
    process, or the sweep whose worker it is, is killed, the run is stopped as by Ctrl-C.
    """
    with log.open("a", encoding="utf-8") as kept:
        process = subprocess.Popen(
            [sys.executable, "-m", "fedklpr_flwr.commands", *words],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        end_with_launcher(process)
        try:
            for text in process.stdout or ():
                kept.write(text)
                kept.flush()
                if _ROUND.match(text):
                    say(text.rstrip())
            return process.wait()
        finally:
            _end(process)
            kept.write(process.stdout.read() if process.stdout else "")


def _end(process: subprocess.Popen[str]) -> None:
    """Let a process that still runs stop as by Ctrl-C; kill it where that takes too long."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(log: Path, code: int) -> str:
    """What `fedklpr` said last: its error sentence, or else its exit status and last line."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    mark = "fedklpr: "
    said = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    return (said or [f"exit status {code}: {line}" for line in lines] or [f"see {log}"])[-1][:500]

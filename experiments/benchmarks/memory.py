"""How much memory a piece of work needs at its peak, measured in a process of its own."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def in_fresh_process(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process, where nothing is in memory yet.

    Args:
        measure: found by its name in its module, so no closure.
        arguments: small and picklable.

    Returns:
        What it returns.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, *arguments).result()


def resident_mb() -> float:
    """The resident memory of this process, pages of mapped files included, in MB."""
    return _status_mb("VmRSS") if _STATUS.exists() else _largest_ever_mb()


def peak_mb(work: Callable[[], object]) -> float:
    """The largest resident memory of this process while it works, in MB.

    Linux's high-water mark, set back before. Where it cannot be set back, it is the largest since
    the process began: never less than the truth.

    Args:
        work: done once.
    """
    with suppress(OSError):
        _FORGET.write_text("5", encoding="ascii")
    work()
    return _status_mb("VmHWM") if _STATUS.exists() else _largest_ever_mb()


def _status_mb(field: str) -> float:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"{_STATUS} has no line {field}")


def _largest_ever_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6

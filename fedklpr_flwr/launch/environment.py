"""What of a user's environment reaches a run's processes: other people's machines have more."""

import importlib.util
import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system.paths import user_cache

OFF = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""No downloads, no telemetry, no update checks."""

PROGRAMS = ("flwr", "flower-superlink")
"""What is started of Flower's."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY", "no_grpc_proxy")
# Another cluster's address, job or temporary folder; Flower's own inner settings.
_OTHERS = ("RAY_", "FLWR_")
# What would put colours into the tables that are read here, end a child at its first warning or
# before its program, or bind the threads of all clients to one and the same core.
_HARMFUL = (
    *("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "COLUMNS", "PYTHONWARNINGS"),
    *(
        "PYTHONINSPECT",
        "PYTHONOPTIMIZE",
        "OMP_PROC_BIND",
        "OMP_PLACES",
        "GOMP_CPU_AFFINITY",
        "KMP_AFFINITY",
    ),
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "grpc_proxy")
_OTHER_NUMBERS = (
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
)
# A socket's path has at most 107 bytes; Ray's own part of it takes some 65 of them.
_LONGEST_TEMPORARY = 40
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")


def run_environment(given: Mapping[str, str], home: Path | None) -> dict[str, str]:
    """The environment of a run's processes.

    Args:
        given: the command's own environment.
        home: the run's own FLWR_HOME; None = the user's Flower configuration is meant, and what is
            said of Flower stays.

    Returns:
        The same, with this Python's programs first, text in UTF-8 and loopback past every proxy. Of
        a simulation also: without what others said of Ray and Flower, with a HOME, a user's name, a
        place for Ray's sockets, the command's own cache folder wherever a process works, and a Ray
        of its own, also where one was started on this machine.

    Raises:
        RunError: no temporary folder can be written whose path is short enough, or nobody knows
            where the cache is.
    """
    env = {
        key: value
        for key, value in given.items()
        if key not in _HARMFUL and not _unusable_proxy(key, value)
    }
    env |= {**OFF, "PYTHONUTF8": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    for key in _NO_PROXY:
        passed = [word for word in env.get(key, "").split(",") if word.strip() and _readable(word)]
        if key != "no_grpc_proxy" or passed:  # gRPC would take it instead of no_proxy
            env[key] = ",".join(dict.fromkeys([*passed, *LOOPBACK]))
    if home is None:
        return env
    env = {key: value for key, value in env.items() if key in OFF or not key.startswith(_OTHERS)}
    env["FLWR_HOME"] = str(home)
    env["RAY_TMPDIR"] = short_temporary_folder(given)
    env["RAY_ADDRESS"] = "local"
    env["FEDKLPR_CACHE"] = str(user_cache())
    if not _has_home(env):
        env["HOME"] = str(home)
        if not (env.get("TORCH_HOME") or env.get("XDG_CACHE_HOME")):
            env["TORCH_HOME"] = str(user_cache() / "torch")  # where this command looks as well
    if not _has_name(env):
        env["USER"] = "fedklpr"
    return env


def check_environment(given: Mapping[str, str]) -> None:
    """Refuse an environment in which no simulation can run, before anything is written.

    Args:
        given: the command's own environment.

    Raises:
        RunError: see `run_environment`; or Flower's programs are not beside this Python.
    """
    env = run_environment(given, Path("/"))
    for program in PROGRAMS:
        if shutil.which(program, path=env["PATH"]) is None:
            raise RunError(
                f"the program {program} is neither beside this Python ({sys.executable}) nor on "
                "PATH: install fedklpr-flwr into an environment (venv, conda) and use its python"
            )


def notes_of_environment(given: Mapping[str, str]) -> list[str]:
    """What of an environment changes numbers behind the settings' back, a sentence each."""
    return [
        f"{key}={given[key]} is set: it changes the precision of arithmetic, whatever "
        "training.precision says; unset it for results that others can repeat"
        for key in _OTHER_NUMBERS
        if given.get(key)
    ]


def _unusable_proxy(key: str, value: str) -> bool:
    """Whether Flower's client ends at it: another scheme, SOCKS without its package, no address."""
    if key.casefold() not in _PROXIES or not value:
        return False
    address = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(address)
        whole = bool(parts.hostname) and parts.port != 0 and not parts.query and "#" not in value
    except ValueError:  # a port that is no number
        return True
    socks = parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is not None
    return not whole or not (parts.scheme in ("http", "https") or socks)


def _readable(passed: str) -> bool:
    """Whether Flower's client can read a word of no_proxy: of IPv6 it knows addresses alone."""
    return "[" not in passed and not (passed.count(":") > 1 and "/" in passed)


def short_temporary_folder(given: Mapping[str, str]) -> str:
    """A temporary folder in which sockets can lie: TMPDIR, where its path is short enough.

    Args:
        given: the environment.

    Raises:
        RunError: there is none.
    """
    wanted = [given[key] for key in ("RAY_TMPDIR", "TMPDIR") if given.get(key)]
    for folder in (*wanted, *_TEMPORARY, tempfile.gettempdir()):
        plain = os.path.isabs(folder) and len(os.fsencode(folder)) <= _LONGEST_TEMPORARY
        if plain and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise RunError(
        f"no temporary folder can be written whose path is at most {_LONGEST_TEMPORARY} bytes long "
        f"(tried {', '.join((*wanted, *_TEMPORARY))}): Ray's sockets need one; set TMPDIR"
    )


def _has_home(env: Mapping[str, str]) -> bool:
    """Whether programs will know where their user is at home."""
    return bool(env.get("HOME")) or os.path.expanduser("~") != "~"


def _has_name(env: Mapping[str, str]) -> bool:
    """Whether programs will know what their user is called."""
    if any(env.get(key) for key in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return True
    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def last_error(log: Path) -> str:
    """The last line of a log that names an error, to be put into a sentence; empty without one."""
    for line in reversed(_end_of(log)):
        if re.search(r"\b\w*(Error|Exception)\b|\bERROR\b", line):
            return line[-400:]
    return ""


def last_words(log: Path, lines: int = 3) -> str:
    """The last lines of a log, in one, to be put into a sentence; empty where there are none.

    Args:
        log: the file.
        lines: how many.
    """
    return " | ".join(_end_of(log)[-lines:])[-400:]


def _end_of(log: Path) -> list[str]:
    """The lines at a log's end that hold something, printable; none where it cannot be read."""
    try:
        text = log.read_bytes()[-20_000:].decode("utf-8", "replace")
    except OSError:
        return []
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return ["".join(letter for letter in line if letter.isprintable()) for line in lines]

"""Which code makes a run: the checkout's commit, or the version of an installed package."""

import subprocess
from functools import cache
from pathlib import Path

from fedklpr_flwr.version import VERSION

_PARENT = Path(__file__).resolve().parents[2]


@cache
def code_commit() -> str:
    """The commit of the code that this process runs, as it was when it was first asked for.

    Returns:
        The short hash, and whether files differ from it; `version X` outside of a checkout.
    """
    return commit_of(_PARENT)


def commit_of(folder: Path) -> str:
    """The commit that a folder is checked out at; a folder within a checkout is none.

    Args:
        folder: where a checkout has its .git.
    """
    head = _git(folder, "rev-parse", "--short", "HEAD") if (folder / ".git").exists() else ""
    if not head:
        return f"version {VERSION}"
    changed = _git(folder, "status", "--porcelain")
    return f"{head} with changes that are not committed" if changed else head


def _git(folder: Path, *words: str) -> str:
    """What git says; nothing where it is missing or refuses."""
    command = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""

"""What of an error leaves a site: its kind and a sentence of ours, never its own text.

An error's text may name a picture's file, and files may be named after people.
"""

import os
import re
from collections.abc import Iterator

from fedklpr_flwr.errors import (
    BrokenModel,
    DataError,
    MemoryStateError,
    MergeError,
    SettingsError,
    WeightsError,
    WireError,
)

_OF_THE_SERVER = (WireError, MergeError)
"""Errors about what the server sent: it may read what it wrote, where no path is in it."""

_KEY = re.compile(r"([a-z][a-z0-9_]{0,31}(?:\.[a-z][a-z0-9_]{0,31}){0,2})=")
"""How an error about a setting begins. Its key is told, never its value: composed on this machine
it could be anything that lies on it."""

_SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (DataError, "its pictures cannot be used"),
    (MemoryStateError, "what it keeps on its disk is damaged"),
    (BrokenModel, "its model draws features that are not finite"),
    (WeightsError, "its initial weights cannot be used"),
    (SettingsError, "the settings do not fit this site"),
    (WireError, "what it was sent cannot be read"),
    (MemoryError, "its memory is full"),
    (OSError, "a file or the network cannot be used"),
)


def told_of(error: BaseException) -> str:
    """An error as the server may read it.

    Args:
        error: what a task failed with; its whole text belongs into the site's own log.

    Returns:
        The error's class, a sentence, and what the operating system said, without any path.
    """
    said = str(error)
    if not isinstance(error, _OF_THE_SERVER) or "/" in said or "\\" in said:
        fitting = (words for kind, words in _SENTENCES if isinstance(error, kind))
        said = next(fitting, "its task failed") + "".join(_system_words(error))
        key = _KEY.match(str(error)) if isinstance(error, SettingsError) else None
        said += f" ({key[1]})" if key else ""
    return f"{type(error).__name__}: {said}; its own log says more"


def _system_words(error: BaseException) -> Iterator[str]:
    """Why the operating system refused, where it did: by number, since its text may be a path."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, OSError) and cause.errno is not None:
            yield f" ({os.strerror(cause.errno)})"
            return
        cause = cause.__cause__ or cause.__context__

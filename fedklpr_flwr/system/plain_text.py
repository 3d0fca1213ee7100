"""Text that others wrote: of bounded size and depth, and names that a terminal may show."""

import json
import stat
from pathlib import Path
from typing import Any

import yaml

_DEEPEST = 40
"""Groups in groups; a config.yaml has four."""


_MOST_BYTES = 4_000_000
"""A config.yaml of ten thousand sites has one million."""


def read_text(path: Path, most: int = _MOST_BYTES) -> str:
    """Read a text in UTF-8, unless it is larger than any that is written here.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, too large, or no UTF-8.
    """
    return read_small(path, most).decode()


def read_small(path: Path, most: int = _MOST_BYTES) -> bytes:
    """Read a file, unless it is larger than any that is written here.

    Args:
        path: the file; a few bytes on a disk can stand for gigabytes.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or too large.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for without end
        raise ValueError("it is no regular file")
    if state.st_size > most:
        raise ValueError(f"it has {state.st_size:,} bytes, more than {most:,}")
    return path.read_bytes()


def parse_json(text: str | bytes, **how: Any) -> Any:
    """Read JSON as `json.loads` does; what is nested too deeply is no JSON either.

    Raises:
        ValueError: it is no JSON, or nested beyond what Python reads.
    """
    try:
        return json.loads(text, **how)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_plain_yaml(text: str, *, aliases: bool = False) -> None:
    """Refuse YAML whose few bytes would stand for very many: aliases, and endless nesting.

    Args:
        text: the YAML.
        aliases: let aliases pass, of files that a user writes.

    Raises:
        yaml.YAMLError: there is an alias, or more than 40 groups in one another, or it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise yaml.YAMLError(f"it has an alias (*{event.anchor}), which no run folder needs")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"more than {_DEEPEST} groups lie in one another")


def printable(text: object) -> str:
    """A text without what a terminal obeys or a reader does not see: each such sign becomes a ?."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(text))


def printable_lines(text: str) -> str:
    """A text of several lines, each of them `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def toml_text(text: str) -> str:
    """A text as TOML writes it; JSON's escapes are TOML's, but it leaves DEL as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

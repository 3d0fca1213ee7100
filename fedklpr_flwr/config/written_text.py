"""Text settings that look like numbers are kept as they were written on a command line."""

import dataclasses
import re
import types
import typing
from collections.abc import Sequence

from fedklpr_flwr.config.settings import Client, Settings

_CLIENTS = "data.clients"
_TEXTS = "|".join(
    name
    for name, kind in typing.get_type_hints(Client).items()
    if str in (kind, *typing.get_args(kind))
)
_NUMBER = r"[+-]?\d[\d_]*"
_IN_A_CLIENT = re.compile(rf"([{{,]\s*(?:{_TEXTS})\s*:\s*)({_NUMBER})(?=\s*[,}}])")


def kind_of(key: str) -> typing.Any:
    """Tell what a setting is.

    Args:
        key: its dotted key.

    Returns:
        Its type, without None where that is one more value; None where there is no such key.
    """
    kind: typing.Any = Settings
    for part in key.split("."):
        kind = typing.get_type_hints(kind).get(part) if dataclasses.is_dataclass(kind) else None
        if isinstance(kind, types.UnionType):
            kind = next(one for one in kind.__args__ if one is not type(None))
    return kind


def numbers_kept(overrides: Sequence[str]) -> list[str]:
    """Put whole numbers into quotes where a text is expected: 1_000 and +5 are no 1000 and 5 then.

    Args:
        overrides: words KEY=VALUE.

    Returns:
        The words, as Hydra reads them to texts.
    """
    return [_kept(word) for word in overrides]


def _kept(word: str) -> str:
    key, _, value = word.partition("=")
    plain = key.lstrip("+")
    if plain == _CLIENTS:
        return f"{key}={_IN_A_CLIENT.sub(_quoted, value)}"
    if re.fullmatch(_NUMBER, value) and kind_of(plain) is str:
        return f"{key}='{value}'"
    return word


def _quoted(found: re.Match[str]) -> str:
    return f"{found[1]}'{found[2]}'"

"""What both sides say in the stages of a secure sum, after the reports, and how it travels.

    train    the task as ever -> the report as ever, Advert
    share    KeyList          -> Shares         each client's shares for every other, sealed
    values   ValuesTask       -> uint16 numbers w_k (theta_k - R) / step, blinded; behind them the
                                 names of whose sealed shares did not open, if there are any
    open     OpenTask         -> Opened         shares of what still blinds the sum

JSON and its checksum; numbers as they are. Names are in alphabetical order everywhere. Keys and
sealed shares are text, other bytes are written as hexadecimal digits.
"""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.secure.blinding import Residues
from fedklpr_flwr.system.plain_text import parse_json

SECURE = "query.secure"
"""Flower's type of all messages after the first."""

STAGES = ("share", "values", "open")

_CHECK = 4
_LONGEST = 1 << 25
"""Bytes of a message of this kind: thousands of clients."""


def is_secure(settings: Settings) -> bool:
    """Whether the server is to learn no more than sums."""
    return settings.privacy.kind == "secure_aggregation"


def sum_notes(settings: Settings, clients: int) -> list[str]:
    """Say before a run starts what a secure sum of so many clients leaves open."""
    if not is_secure(settings):
        return []
    notes = [
        "privacy=secure_aggregation: nobody sees an update, so that nothing bounds one, and one "
        "hostile or broken client can spoil the model in every round without being named"
    ]
    if clients == 2:
        told = "privacy=secure_aggregation: of two clients each computes the other's update"
        notes.append(f"{told} from the merged model; three and more hide each other")
    return notes


@dataclass(frozen=True)
class Advert:
    """What a client says beside its report, before anybody knows who takes part.

    Attributes:
        blinding: its public keys, see PublicKeys.
        sealing: likewise.
        mask_hash: of the masks that its values lie behind, which must be everybody's.
        exponents: for each tensor e with |change| <= 2^e, see exponent_of.
    """

    blinding: str
    sealing: str
    mask_hash: str
    exponents: tuple[int, ...]


@dataclass(frozen=True)
class KeyList:
    """Who has trained, with what they told."""

    clients: tuple[str, ...]
    blinding: tuple[str, ...]
    sealing: tuple[str, ...]


@dataclass(frozen=True)
class Shares:
    """A client's shares for all of a KeyList, sealed; an empty text for itself; and its mark."""

    sealed: tuple[str, ...]
    mark: str


@dataclass(frozen=True)
class ValuesTask:
    """What a client blinds by.

    Attributes:
        clients: who has shared, and takes part.
        sealed: what each of them sealed for the receiver; empty from itself.
        weights: of each; at most 1 in all.
        exponents: the largest of each tensor.
    """

    clients: tuple[str, ...]
    sealed: tuple[str, ...]
    weights: tuple[float, ...]
    exponents: tuple[int, ...]


@dataclass(frozen=True)
class OpenTask:
    """Whose values are in the sum."""

    clients: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """Shares, in hexadecimal digits.

    Attributes:
        seeds: of the seeds of those in the sum.
        keys: of the blinding keys of those who were asked for values and are not in it.
    """

    seeds: tuple[str, ...]
    keys: tuple[str, ...]


Asked = KeyList | ValuesTask | OpenTask
"""What the server says in a stage."""

Said = TypeVar("Said", Advert, KeyList, Shares, ValuesTask, OpenTask, Opened)


def pack(said: Asked | Advert | Shares | Opened) -> bytes:
    """Write what is said in a stage as bytes."""
    return _checked_bytes(json.dumps(asdict(said)).encode())


def unpack(kind: type[Said], content: bytes | memoryview) -> Said:
    """Read what `pack` wrote, from the network.

    Raises:
        WireError: it is damaged, or something else.
    """
    if len(content) > _LONGEST:
        raise WireError(
            f"length: a stage of a sum has at most {_LONGEST} bytes, not {len(content)}"
        )
    try:
        found = parse_json(bytes(_without_check(content)))
        values = {item.name: _READERS[item.type](found[item.name]) for item in fields(kind)}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise WireError(
            f"a secure sum: expected {kind.__name__}, got what cannot be read as one ({error})"
        ) from error
    return kind(**values)


def pack_values(values: Residues, complaints: Sequence[str] = ()) -> bytes:
    """Write blinded numbers as bytes: two for each, the low one first; then complaints, if any."""
    named = json.dumps(list(complaints)).encode() if complaints else b""
    return _checked_bytes(values.astype("<u2", copy=False).tobytes() + named)


def unpack_values(content: bytes | memoryview, count: int) -> Residues:
    """Read blinded numbers.

    Args:
        content: from the network.
        count: how many there must be.

    Raises:
        WireError: it is damaged, or another number of them.
    """
    unpack_complaints(content, count)
    return np.frombuffer(_without_check(content)[: 2 * count], dtype="<u2")


def unpack_complaints(content: bytes | memoryview, count: int) -> tuple[str, ...]:
    """Read whose sealed shares did not open at whom blinded numbers are of; see `unpack_values`."""
    more = len(content) - 2 * count - _CHECK
    try:
        if 0 <= more <= _LONGEST:
            named = bytes(_without_check(content)[2 * count :])
            return _several(_text)(parse_json(named)) if named else ()
    except ValueError:
        pass
    raise WireError(
        f"blinded numbers: expected {2 * count + _CHECK} bytes for {count} of them, got "
        f"{len(content)}; it is another model's, or damaged"
    )


def _checked_bytes(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(_CHECK, "little")


def _without_check(content: bytes | memoryview) -> memoryview:
    inner = memoryview(content)[:-_CHECK]
    if zlib.crc32(inner).to_bytes(_CHECK, "little") != bytes(content[-_CHECK:]):
        raise WireError("checksum: a message of a secure sum was damaged on its way")
    return inner


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text, not {value!r:.50}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"a whole number, not {value!r:.50}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"a finite number, not {value!r:.50}")
    return float(value)


def _several(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read_all(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list):
            raise ValueError(f"a list, not {values!r:.50}")
        return tuple(read(value) for value in values)

    return read_all


_READERS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    tuple[str, ...]: _several(_text),
    tuple[int, ...]: _several(_whole),
    tuple[float, ...]: _several(_number),
}

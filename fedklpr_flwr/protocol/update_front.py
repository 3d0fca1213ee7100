"""The front of an update: of which run and round it is, so that it counts in no other.

    magic FKLU | version 1 | round | run | checksum | the payload, in the wire's own format

The wire knows nothing of runs and rounds, and its version 1 stays as it is: this lies before it.
"""

import hashlib
import struct
import zlib

from fedklpr_flwr.errors import WireError

FRONT = struct.Struct("<4sHI16sI")
_MAGIC, _VERSION = b"FKLU", 1
_SIGNED = FRONT.size - 4
"""Bytes before the checksum."""


def with_front(payload: bytes, run: str, round_number: int) -> bytes:
    """Put the front before an update's payload.

    Args:
        payload: what `encode_update` gave.
        run: the run's key, as the task says.
        round_number: the round that it answers, 1..R.
    """
    return _front(payload, run, round_number) + payload


def without_front(content: memoryview, run: str, round_number: int) -> memoryview:
    """Check the front of what came as an update; nothing is copied.

    Args:
        content: the bytes, from the network.
        run: the key of the run that is under way.
        round_number: the open round.

    Returns:
        The payload behind it.

    Raises:
        WireError: it is damaged, or the update is of another run or round.
    """
    if len(content) < FRONT.size:
        raise WireError(f"length: an update begins with {FRONT.size} bytes, got {len(content)}")
    magic, version, told_round, told_run, checksum = FRONT.unpack_from(content)
    if magic != _MAGIC or version != _VERSION:
        raise WireError(
            f"front: expected {_MAGIC!r} of version {_VERSION}, got {magic!r} of version {version}"
        )
    payload = content[FRONT.size :]
    if checksum != _checksum(content[:_SIGNED], payload):
        raise WireError("checksum: the update was damaged on its way, ask for it again")
    if told_run != _run_name(run):
        raise WireError(
            f"run: the update is of the run {told_run.hex()}, this one is {_run_name(run).hex()}; "
            "it is an old one sent again, and is left out"
        )
    if told_round != round_number:
        raise WireError(
            f"round: the update is of round {told_round}, this is round {round_number}; it is an "
            "old one sent again, and is left out"
        )
    return payload


def _front(payload: bytes, run: str, round_number: int) -> bytes:
    front = FRONT.pack(_MAGIC, _VERSION, round_number, _run_name(run), 0)[:_SIGNED]
    return front + struct.pack("<I", _checksum(memoryview(front), memoryview(payload)))


def _checksum(front: memoryview, payload: memoryview) -> int:
    """CRC-32 of the front and of the payload's own checksum, its last four bytes."""
    return zlib.crc32(payload[-4:], zlib.crc32(front))


def _run_name(run: str) -> bytes:
    """16 bytes for a run's key, whatever its length."""
    return hashlib.blake2b(run.encode(), digest_size=16).digest()

"""What the server asks of one client, and the names by which both speak of a model."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

NEEDS_SYNC = "needs_sync"
"""A reply's status where the client lacks the model or the mask that the task builds on."""


@dataclass(frozen=True)
class Task:
    """What the server asks of one client.

    Attributes:
        run: the run's key; a client's memory is kept under it.
        round: 0 for the initial model, then 1..R.
        base_round: the last round in which this client's update was merged; 0 = never.
        mask_hash: the mask the server holds of this client, and cuts its payload by.
        model: the name (hash) of the payload that carries the model.
        full: True where the payload brings the mask itself, because the client lost it.
        reference: the name of the payload that brought the model which this one is a change to.
        changes: where the payload is several changes, one after the other: the bytes of each, in
            order. Empty = it is one.
        last: True for the evaluation after the last merge: the moment for `training.final_epochs`.
        kept_run: in a run that continues another, the run under whose key this client's memory
            lies until it is merged in this one; empty = it starts here.
        kept_round: the round of that memory.
        pairs_worse: of all clients' training pictures, those that became wrong since the last
            prunes (`crr.pooled`); pairs_better the reverse, pairs_compared all; 0 = not counted.
    """

    run: str
    round: int
    base_round: int
    mask_hash: str
    model: str
    full: bool
    last: bool = False
    reference: str = ""
    pairs_worse: int = 0
    pairs_better: int = 0
    pairs_compared: int = 0
    kept_run: str = ""
    kept_round: int = 0
    changes: Sequence[int] = ()


@dataclass(frozen=True)
class StageTask:
    """What the server asks of one client in a secure sum; the payload says more.

    Attributes:
        run: the run's key.
        round: 1..R.
        stage: share, values or open, see secure/stages.py.
    """

    run: str
    round: int
    stage: str


def payload_name(payload: bytes | memoryview) -> str:
    """The first 32 hex digits of a payload's SHA-256: how both sides speak of a model."""
    return hashlib.sha256(payload).hexdigest()[:32]


def growing_names(parts: Iterable[bytes | memoryview]) -> Iterator[str]:
    """`payload_name` of the first part, of the first two as one payload, and so on."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        yield digest.hexdigest()[:32]

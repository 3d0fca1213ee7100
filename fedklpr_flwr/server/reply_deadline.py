"""Send messages, and take each reply as it arrives; who has not answered in time has failed."""

import time
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from fedklpr_flwr.flower_internals import ErrorCode
from fedklpr_flwr.server.reply_polling import Pull, polling_of
from fedklpr_flwr.wording import printable

LATE = 1000
"""The error code of a reply that did not come in time; Flower's own codes are below it."""

FIRST_TOLD = 30.0
"""Seconds after which it is first said who has not answered."""


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    deadline_seconds: float,
    pull: Pull | None = None,
    still_waiting: Callable[[list[int], float], None] = lambda nodes, seconds: None,
) -> Iterator[Message]:
    """Push every message, and yield its reply as soon as it is there: exactly one for each.

    Nothing is collected: the caller takes what it needs of a reply and lets it go, and replies are
    looked for after every message sent, so neither messages nor replies pile up with the clients.
    What fails is a reply with an error, and every reply comes from the node that was asked.

    Args:
        grid: Flower's grid.
        messages: made as they are sent.
        deadline_seconds: after it, whoever has not answered has answered with the error `LATE`.
        pull: how replies are asked for; None = as suits the grid.
        still_waiting: told which nodes have not answered, and for how many seconds since all were
            asked: after half a minute, a whole one, two, four ...
    """
    pull = pull or polling_of(grid)
    waiting: dict[str, int] = {}
    for message in messages:
        ids = list(grid.push_messages([message]))
        if ids:
            waiting[ids[0]] = message.metadata.dst_node_id
            yield from _take(waiting, pull(list(waiting)))
        else:
            refused = Error(ErrorCode.UNKNOWN, "Flower did not take the message")
            yield _error_of(message.metadata.dst_node_id, refused)
    began, told = time.monotonic(), FIRST_TOLD
    pause = 0.01
    while waiting:
        replies = pull(list(waiting))
        yield from _take(waiting, replies)
        waited = time.monotonic() - began
        if not replies and waited >= deadline_seconds:
            break  # only after a look: what has come is taken, whatever the deadline
        if waiting and waited >= told:
            still_waiting(list(waiting.values()), waited)
            told *= 2
        pause = 0.01 if replies else min(pause * 1.5, 0.25)
        if not replies and waiting:
            time.sleep(pause)
    for node in waiting.values():
        yield _error_of(node, Error(LATE, f"no answer within {deadline_seconds:g} s"))


def _take(waiting: dict[str, int], replies: Iterable[Message]) -> Iterator[Message]:
    """The replies to messages that wait; who has answered waits no longer."""
    for reply in replies:
        if reply.metadata.reply_to_message_id in waiting:
            node = waiting.pop(reply.metadata.reply_to_message_id)
            # Where a node is gone Flower answers for it, in the SuperLink's name.
            of_flower = reply.has_error() and reply.metadata.src_node_id != node
            yield _error_of(node, reply.error) if of_flower else reply


def _error_of(node: int, error: Error) -> Message:
    """A reply of a node that says what went wrong."""
    return Message(error, reply_to=Message(RecordDict(), node, "query"))


def why_failed(reply: Message) -> str:
    """What went wrong, in one printable line: of a traceback the line that says what happened."""
    return _last_line(reply.error.reason or f"error code {reply.error.code}")


def _last_line(reason: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in reason.strip().splitlines() if line.strip()]
    return printable(lines[-1][:500]) if lines else "unknown error"

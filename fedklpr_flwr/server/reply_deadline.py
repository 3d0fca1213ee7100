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
    at_once: int | None = None,
) -> Iterator[Message]:
    """Push every message, and yield its reply as soon as it is there: exactly one for each.

    Nothing is collected: the caller takes what it needs of a reply and lets it go, and replies are
    looked for after every message sent, so neither messages nor replies pile up with the clients.
    What fails is a reply with an error, and every reply comes from the node that was asked.

    Args:
        grid: Flower's grid.
        messages: made as they are sent.
        deadline_seconds: so long after it was asked, who has not answered has answered with the
            error `LATE`.
        pull: how replies are asked for; None = as suits the grid.
        still_waiting: told which nodes have not answered, and for how many seconds since the last
            was asked: after half a minute, a whole one, two, four ...
        at_once: so many are asked at a time, and the next when one has answered; None = all.
    """
    open_now = _OpenQuestions(pull or polling_of(grid), deadline_seconds, still_waiting)
    for message in messages:
        ids = list(grid.push_messages([message]))
        if not ids:
            refused = Error(ErrorCode.UNKNOWN, "Flower did not take the message")
            yield _error_of(message.metadata.dst_node_id, refused)
            continue
        open_now.ask(ids[0], message.metadata.dst_node_id)
        yield from open_now.replies()
        while at_once is not None and len(open_now) >= at_once:
            yield from open_now.wait()
    while len(open_now):
        yield from open_now.wait()


class _OpenQuestions:
    """The messages that wait for a reply.

    Args:
        pull, deadline_seconds, still_waiting: as `exchange` has them.
    """

    def __init__(
        self, pull: Pull, deadline_seconds: float, still_waiting: Callable[[list[int], float], None]
    ) -> None:
        self._pull, self._deadline, self._tell = pull, deadline_seconds, still_waiting
        self._nodes: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._told, self._pause = FIRST_TOLD, 0.01

    def __len__(self) -> int:
        return len(self._nodes)

    def ask(self, name: str, node: int) -> None:
        """A message has left."""
        self._nodes[name] = node
        self._since[name] = time.monotonic()
        self._told = FIRST_TOLD

    def replies(self) -> list[Message]:
        """What has come since the last look; who has answered waits no longer."""
        found = []
        for reply in self._pull(list(self._nodes)):
            if reply.metadata.reply_to_message_id in self._nodes:
                node = self._nodes.pop(reply.metadata.reply_to_message_id)
                # Where a node is gone Flower answers for it, in the SuperLink's name.
                of_flower = reply.has_error() and reply.metadata.src_node_id != node
                found.append(_error_of(node, reply.error) if of_flower else reply)
        return found

    def wait(self) -> Iterator[Message]:
        """Look once, and where nothing has come say who is late, or pause a little."""
        replies = self.replies()
        yield from replies
        now = time.monotonic()
        waited = now - max(self._since.values())
        if self._nodes and waited >= self._told:
            self._tell(list(self._nodes.values()), waited)
            self._told *= 2
        self._pause = 0.01 if replies else min(self._pause * 1.5, 0.25)
        if replies:
            return  # a look more before anybody is late: what has come is taken
        late = [name for name in self._nodes if now - self._since[name] >= self._deadline]
        for name in late:
            reason = f"no answer within {self._deadline:g} s"
            yield _error_of(self._nodes.pop(name), Error(LATE, reason))
        if self._nodes and not late:
            time.sleep(self._pause)


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

"""Send messages to clients by name, and yield the answers as they arrive."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runtime.records import TASK, read_report


@dataclass(frozen=True)
class Answer:
    """What came of one message: a reply, an error, or nothing before the deadline."""

    client: str
    reply: Message | None
    error: str | None = None
    late: bool = False


def exchange(
    grid: Grid, messages: Iterable[tuple[str, Message]], deadline_seconds: float
) -> Iterator[Answer]:
    """Push every message, then yield each client's answer as soon as it is there.

    Nothing is collected: the caller takes what it needs of a reply and lets it go, so memory does
    not grow with the clients.

    Args:
        grid: Flower's grid.
        messages: (client name, message), made as they are sent.
        deadline_seconds: after it, whoever has not answered is yielded as late.
    """
    waiting: dict[str, str] = {}
    for client, message in messages:
        ids = list(grid.push_messages([message]))
        if ids:
            waiting[ids[0]] = client
        else:
            yield Answer(client, None, "Flower did not take the message")
    end = time.monotonic() + deadline_seconds
    pause = 0.01
    while waiting:
        replies = list(grid.pull_messages(list(waiting)))
        for reply in replies:
            if reply.metadata.reply_to_message_id in waiting:
                yield _answer(waiting.pop(reply.metadata.reply_to_message_id), reply)
        if not replies and time.monotonic() >= end:
            break  # only after a look: what has come is taken, whatever the deadline
        pause = 0.01 if replies else min(pause * 1.5, 0.25)
        if not replies and waiting:
            time.sleep(pause)
    for client in waiting.values():
        yield Answer(client, None, f"no answer within {deadline_seconds:g} s", late=True)


def _answer(client: str, reply: Message) -> Answer:
    if reply.has_error():
        reason = reply.error.reason or f"error code {reply.error.code}"
        return Answer(client, None, _last_line(reason))
    return Answer(client, reply)


def _last_line(reason: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in reason.strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else "unknown error"


@dataclass
class Roster:
    """Which node speaks for which client. Flower knows nodes; people know names."""

    run: str
    nodes: dict[str, int]
    asked: dict[int, str]

    @classmethod
    def empty(cls, run: str) -> "Roster":
        """A roster on which nobody is yet."""
        return cls(run, {}, {})

    def refresh(self, grid: Grid, deadline_seconds: float) -> None:
        """Ask every node that is new for its name; forget those that are gone.

        A node without a client (more nodes than sites in a simulation) answers with an empty name
        and is left alone. Where two nodes claim one name the later one has it: a box that was
        restarted.
        """
        present = set(grid.get_node_ids())
        self.asked = {node: name for node, name in self.asked.items() if node in present}
        hello = [
            (str(node), Message(_hello(self.run), node, "query"))
            for node in sorted(present - set(self.asked))
        ]
        for answer in exchange(grid, hello, deadline_seconds):
            if answer.reply is not None:
                name = str(read_report(answer.reply.content).get("client", ""))
                self.asked[int(answer.client)] = name
        self.nodes = {name: node for node, name in self.asked.items() if name}

    def wait_for(
        self, grid: Grid, count: int, wait_seconds: float, explain: Callable[[int], str]
    ) -> None:
        """Wait until `count` clients are there.

        Raises:
            RunError: they were not after `wait_seconds`; the message is `explain(found)`.
        """
        end = time.monotonic() + wait_seconds
        while True:
            self.refresh(grid, max(1.0, end - time.monotonic()))
            if len(self.nodes) >= count:
                return
            if time.monotonic() >= end:
                raise RunError(explain(len(self.nodes)))
            time.sleep(0.5)


def _hello(run: str) -> RecordDict:
    return RecordDict({TASK: ConfigRecord({"run": run})})

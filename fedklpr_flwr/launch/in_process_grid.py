"""A federation in one process: the real strategy and clients on a grid without an engine.

Messages are real Flower messages; a client runs when its reply is asked for. A client's memory lies
on disk as everywhere else.
"""

import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid

from fedklpr_flwr.flower_internals import Run, address, speak_as_server


class InProcessGrid(Grid):
    """Flower's grid over clients of this process.

    Args:
        client_app: what answers messages.
        run_config: Flower's run config, as every node would get it.
        node_configs: one a node; by default it says only the partition.
    """

    def __init__(
        self,
        client_app: Callable[[Message, Context], Message],
        run_config: Mapping[str, Any],
        node_configs: Iterable[Mapping[str, Any]],
    ) -> None:
        self._app = client_app
        self._run = speak_as_server()
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config=dict(config),
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for node, config in enumerate(node_configs, start=2)
        }
        self._waiting: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """See Grid."""
        self._run = run

    @property
    def run(self) -> Run:
        """See Grid."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See Grid."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """See Grid."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; nothing runs yet."""
        ids = []
        for message in messages:
            ids.append(address(message))
            self._waiting[ids[-1]] = message
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the first of these messages that waits, and give its reply."""
        for message_id in message_ids:
            if message_id in self._waiting:
                return [self._answer(self._waiting.pop(message_id))]
        return []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """See Grid."""
        return [self._answer(self._waiting.pop(key)) for key in list(self.push_messages(messages))]

    def _answer(self, message: Message) -> Message:
        """The client's reply; a client that raises answers with an error, as Flower makes of it."""
        try:
            return self._app(message, self._contexts[message.metadata.dst_node_id])
        except Exception:
            return Message(Error(code=0, reason=traceback.format_exc()), reply_to=message)

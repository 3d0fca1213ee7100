"""What goes over the wire of a tiny federation, and what its clients keep."""

from pathlib import Path

from tiny_federation import Finished, client_name, interfering

from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder
from fedklpr_flwr.protocol.flower_messages import read_payload
from fedklpr_flwr.protocol.update_front import FRONT

TRIO = ("ash", "birch", "cedar")
PAIR = TRIO[:2]


class Wiretap:
    """Every payload, up and down, by (phase, round, client), updates without their front.

    Give `app` to a federation.

    Args:
        app: what answers behind it; the real ClientApp unless something interferes.
    """

    def __init__(self, app=None):
        self.up, self.down = {}, {}
        self._behind = app
        self.app = interfering(self._listen, phase=None)

    def _listen(self, message, context, app):
        number = int(message.metadata.group_id or 0)
        key = (message.metadata.message_type, number, client_name(context))
        self.down[key] = read_payload(message.content)
        reply = (self._behind or app)(message, context)
        if not reply.has_error():
            sent = read_payload(reply.content)
            self.up[key] = sent[FRONT.size :] if key[0] == "train" else sent
        return reply

    def updates(self):
        """The updates by (round, client)."""
        return {(n, client): p for (phase, n, client), p in self.up.items() if phase == "train"}


def memory_folder(memories: Path, client: str) -> Path:
    """Where a client keeps its memory below a run's folder `memory`."""
    (folder,) = memories.glob(f"*/{client}")
    return folder


def memory_of(run: Finished, client: str, round_number: int) -> ClientMemory:
    """What a client left a round with."""
    folder = memory_folder(run.folder / "memory", client)
    memory = MemoryFolder(run.folder / "memory", folder.parent.name, client).read(round_number)
    assert memory is not None
    return memory


def forget(message, context, app):
    """An interference: the client's memory is gone before it looks at the message."""
    memories = Path(str(context.node_config["state-dir"]))
    for file in memory_folder(memories, client_name(context)).iterdir():
        file.unlink()
    return app(message, context)

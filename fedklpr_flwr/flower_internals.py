"""Every name of Flower's that its documents do not promise: what to look at in a new minor.

tests/test_flower_internals.py holds what each must do; pyproject.toml bounds Flower to the minors
that passed it. Public are flwr.app, clientapp, client, serverapp and common.logger.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from flwr.app import Message
from flwr.app.message import array as flower_array
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import (
    decrypt,
    encrypt,
    generate_shared_key,
)
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.primitives.asymmetric import (
    bytes_to_public_key,
    generate_key_pairs,
    public_key_to_bytes,
)
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "ErrorCode",
    "Run",
    "bytes_to_public_key",
    "combine_shares",
    "create_shares",
    "decrypt",
    "encrypt",
    "generate_key_pairs",
    "generate_shared_key",
    "public_key_to_bytes",
]

UNGUARDED = ("FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API")
"""Switches of Flower's that open an interface on a port of its own, past any middleware."""

PIECE = 512 * 1024
"""Bytes of a message that travel as one and are confirmed: a line that breaks, or is so slow that a
call is given up, costs that much again. Flower's own are of 5 MiB (docs/field.md has both)."""
_PIECE_OF = "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE"
if _PIECE_OF not in os.environ:
    setattr(flower_array, _PIECE_OF, PIECE)


def travelling_parts(message: Message) -> Iterator[bytes]:
    """What a message is put on the wire as: each of its objects, headers included."""
    return (part.deflate() for part in get_all_nested_objects(message).values())


def address(message: Message) -> str:
    """Give a message the id by which its reply will name it, as Flower's own grids do."""
    message.metadata.__dict__["_message_id"] = uuid4().hex
    return message.metadata.message_id


def speak_as_server() -> Run:
    """Make this process the server of a run of its own: Flower's messages ask it who it is."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID
    return Run.create_empty(run_id=1)


def is_network_grid(grid: Grid) -> bool:
    """Whether a network lies between this grid and its nodes."""
    # Importing it takes a web framework along; there is no such grid before somebody has.
    module = sys.modules.get("flwr.superlink.grid")
    return module is not None and isinstance(grid, module.HttpGrid)


def run_superlink(guards: Sequence[Any]) -> None:
    """Run `flower-superlink` with starlette middleware before all its interfaces.

    Raises:
        SystemExit: this version of Flower has no place for it.
    """
    from flwr.superlink import extensions
    from flwr.superlink.cli import flower_superlink

    theirs: Callable[[], Sequence[Any]] | None = getattr(extensions, "get_middleware", None)
    if not callable(theirs):
        raise SystemExit(
            "this version of Flower has no place for the guard of its Control interface "
            "(flwr.superlink.extensions.get_middleware): install flwr 1.41 or 1.42"
        )
    extensions.get_middleware = lambda: (*guards, *theirs())
    flower_superlink()

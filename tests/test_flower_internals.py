"""The contract with Flower's private names: what a new minor must still do."""

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Error, Message, RecordDict
from flwr.common import constant
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.serverapp import Grid
from flwr.superlink import cli, extensions
from flwr.superlink.grid import HttpGrid
from packaging.requirements import Requirement

from fedklpr_flwr.flower_internals import (
    PIECE,
    UNGUARDED,
    ErrorCode,
    Run,
    address,
    bytes_to_public_key,
    combine_shares,
    create_shares,
    decrypt,
    encrypt,
    generate_key_pairs,
    generate_shared_key,
    is_network_grid,
    public_key_to_bytes,
    run_superlink,
    speak_as_server,
    travelling_parts,
)
from fedklpr_flwr.launch.in_process_grid import InProcessGrid

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def message():
    speak_as_server()
    return Message(RecordDict({"w": ArrayRecord([np.zeros(5000, np.uint8)])}), 7, "train")


def test_a_long_message_travels_in_pieces_that_a_slow_line_carries_in_seconds():
    speak_as_server()
    numbers = np.random.default_rng(0).integers(0, 256, 2 * PIECE + 5000, np.uint8)
    long = Message(RecordDict({"w": ArrayRecord([numbers])}), 7, "train")
    sizes = sorted(len(part) for part in travelling_parts(long))
    assert sum(size > PIECE // 2 for size in sizes) == 2
    assert sizes[-1] < 1.01 * PIECE
    (array,) = long.content["w"].values()
    assert np.array_equal(array.numpy(), numbers)


def test_the_flower_that_is_here_is_one_that_was_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = next(r for r in map(Requirement, project["dependencies"]) if r.name == "flwr")
    assert version("flwr") in asked.specifier
    near = ["1.40.0", "1.41.0", "1.42.0", "1.43.0"]
    assert list(asked.specifier.filter(near)) == ["1.41.0", "1.42.0"]


def test_a_process_can_be_the_server_of_a_run_of_its_own(message):
    assert isinstance(speak_as_server(), Run)
    assert message.metadata.src_node_id == constant.SUPERLINK_NODE_ID


def test_a_reply_names_the_message_by_the_id_it_was_given(message):
    given = address(message)
    reply = Message(Error(ErrorCode.UNKNOWN, "why"), reply_to=message)
    assert reply.metadata.reply_to_message_id == given == message.metadata.message_id
    assert reply.metadata.src_node_id == 7
    assert (reply.has_error(), reply.error.reason) == (True, "why")


def test_a_messages_parts_hold_its_payload_and_little_more(message):
    parts = list(travelling_parts(message))
    assert len(parts) > 1
    assert 5000 < sum(map(len, parts)) < 6500


def test_only_flowers_http_grid_has_a_network_behind_it():
    assert issubclass(HttpGrid, Grid)
    assert is_network_grid(HttpGrid(token="t"))
    assert not is_network_grid(InProcessGrid(None, {}, []))


def test_middleware_stands_before_flowers_own(monkeypatch):
    seen = []
    monkeypatch.setattr(extensions, "get_middleware", lambda: ("theirs",))
    monkeypatch.setattr(cli, "flower_superlink", lambda: seen.append(extensions.get_middleware()))
    run_superlink(("guard",))
    assert seen == [("guard", "theirs")]


def test_a_flower_without_a_place_for_middleware_is_refused(monkeypatch):
    monkeypatch.delattr(extensions, "get_middleware")
    monkeypatch.setattr(cli, "flower_superlink", lambda: pytest.fail("it started"))
    with pytest.raises(SystemExit, match=r"install flwr 1\.41 or 1\.42"):
        run_superlink(())


def test_flower_serves_by_uvicorn_and_opens_other_ports_by_the_switches_refused():
    assert "uvicorn.run(" in inspect.getsource(inspect.getmodule(cli.flower_superlink))
    assert UNGUARDED == (
        constant.FLWR_INTERNAL_GRPC_CONTROL_API,
        constant.FLWR_INTERNAL_GRPC_FLEET_API,
    )


def test_flowers_random_numbers_are_still_not_fit_for_blinding():
    """They fold 256 bits to 32 and never draw the largest: protocol/secure has its own."""
    seeds = [bytes(range(32)), bytes([*range(4, 8), *range(4), *range(8, 32)])]
    first, second = (pseudo_rand_gen(seed, 4, [(500,)])[0] for seed in seeds)
    assert np.array_equal(first, second)
    assert first.max() == 2


def test_shares_keys_and_sealing_are_flowers():
    (one, public), (other, theirs) = generate_key_pairs(), generate_key_pairs()
    key = generate_shared_key(one, bytes_to_public_key(public_key_to_bytes(theirs)))
    assert key == generate_shared_key(other, public)
    assert decrypt(key, encrypt(key, b"secret")) == b"secret"
    shares = create_shares(b"secret", 2, 3)
    assert combine_shares(shares[1:]) == combine_shares(shares[:2]) == b"secret"

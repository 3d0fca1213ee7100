"""Claims about fedklpr_flwr.protocol.update_front: an update counts in its run and round alone."""

import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.update_front import FRONT, with_front, without_front

PAYLOAD = b"the payload with its checksum"
SEALED = with_front(PAYLOAD, "run-1", 7)


def test_the_payload_lies_unchanged_behind_thirty_bytes():
    assert (FRONT.size, SEALED[30:]) == (30, PAYLOAD)
    opened = without_front(memoryview(SEALED), "run-1", 7)
    assert bytes(opened) == PAYLOAD
    assert opened.obj is SEALED, "it was copied"


@pytest.mark.parametrize(
    ("run", "number", "said"), [("run-2", 7, "run: the update"), ("run-1", 8, "of round 7, this")]
)
def test_in_another_run_or_round_it_is_refused(run, number, said):
    with pytest.raises(WireError, match=said):
        without_front(memoryview(SEALED), run, number)


def test_every_flipped_bit_of_the_front_and_of_the_payloads_end_is_found():
    places = [*range(FRONT.size), *range(len(SEALED) - 4, len(SEALED))]
    for at in places:
        for bit in range(8):
            damaged = bytearray(SEALED)
            damaged[at] ^= 1 << bit
            with pytest.raises(WireError):
                without_front(memoryview(damaged), "run-1", 7)


@pytest.mark.parametrize("content", [b"", SEALED[:29], PAYLOAD, b"FKLW" + bytes(100)])
def test_what_has_no_front_is_refused(content):
    with pytest.raises(WireError, match=r"length|front"):
        without_front(memoryview(content), "run-1", 7)

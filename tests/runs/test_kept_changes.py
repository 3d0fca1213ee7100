"""Claims about the changes that a run folder keeps."""

import pytest

from fedklpr_flwr.runs.kept_changes import KeptChanges


@pytest.fixture
def changes(tmp_path):
    """Of rounds 1 to 3, of ten bytes each."""
    kept = KeptChanges(tmp_path / "changes")
    for number in (1, 2, 3):
        kept.keep(number, bytes([number] * 10), most=30)
    return kept


def test_those_of_some_rounds_come_in_their_order(changes):
    assert changes.between(2, 3) == [bytes([2] * 10), bytes([3] * 10)]


def test_the_oldest_go_first(changes):
    changes.keep(4, bytes(15), most=30)
    assert [changes.has(number) for number in (1, 2, 3, 4)] == [False, False, True, True]


def test_those_of_rounds_that_are_made_anew_take_no_room(changes):
    changes.keep(2, bytes(15), most=30)
    assert [changes.has(number) for number in (1, 2, 3)] == [True, True, False]

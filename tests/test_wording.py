"""Claims about fedklpr_flwr.wording: what is counted agrees with its number."""

from fedklpr_flwr.wording import counted


def test_one_thing_is_one_and_several_are_several():
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(2, "reply", some="replies") == "2 replies"
    assert counted(1, "reply", some="replies") == "1 reply"
    assert counted(12_000, "picture") == "12,000 pictures"

"""Claims about fedklpr_flwr.wording: what is counted agrees with its number."""

from fedklpr_flwr.wording import counted, named


def test_one_thing_is_one_and_several_are_several():
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(2, "reply", some="replies") == "2 replies"
    assert counted(1, "reply", some="replies") == "1 reply"
    assert counted(12_000, "picture") == "12,000 pictures"


def test_many_names_are_the_first_and_how_many_more():
    assert named(["yard"]) == "yard"
    assert named(["a", "b", "c", "d"]) == "a, b, c, d"
    assert named(["a", "b", "c"], most=1) == "a and 2 more"

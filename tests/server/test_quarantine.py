"""Claims about fedklpr_flwr.server.quarantine: who fails in a row is held, who recovers is not."""

from fedklpr_flwr.server.quarantine import Quarantine


def test_only_failures_in_a_row_count(tiny_settings):
    ward = Quarantine(tiny_settings("defence.quarantine=2"))
    assert ward.note(["a", "b"], {"b"}) == []
    assert ward.note(["a", "b"], {"a", "b"}) == []
    assert ward.note(["a", "b"], {"b"}) == []
    assert ward.note(["b"], {"b"}) == []  # a was not asked: that is no failure
    assert not ward.holds("a")
    assert ward.note(["a", "b"], {"b"}) == ["a"]
    assert ward.holds("a")
    assert not ward.holds("b")


def test_a_study_holds_nobody_and_real_boxes_are_held_after_five(tiny_settings):
    study, boxes = Quarantine(tiny_settings()), Quarantine(tiny_settings("deployment=true"))
    for _ in range(4):
        study.note(["a"], ())
        assert boxes.note(["a"], ()) == []
    study.note(["a"], ())
    assert boxes.note(["a"], ()) == ["a"]
    assert boxes.holds("a")
    assert not study.holds("a")

"""Claims about fedklpr_flwr.server.quarantine: who fails in a row is held, who recovers is not."""

from fedklpr_flwr.server.quarantine import Quarantine


def test_only_failures_in_a_row_count(tiny_settings):
    ward = Quarantine(tiny_settings("defence.quarantine=2"))
    assert ward.note_training(["a", "b"], {"b"}) == []
    assert ward.note_training(["a", "b"], {"a", "b"}) == []
    assert ward.note_training(["a", "b"], {"b"}) == []
    assert ward.note_training(["b"], {"b"}) == []  # a was not asked: that is no failure
    assert not ward.holds("a")
    assert ward.note_training(["a", "b"], {"b"}) == ["a"]
    assert ward.holds("a")
    assert not ward.holds("b")


def test_a_study_holds_nobody_and_real_boxes_are_held_after_five(tiny_settings):
    study, boxes = Quarantine(tiny_settings()), Quarantine(tiny_settings("deployment=true"))
    for _ in range(4):
        study.note_training(["a"], ())
        assert boxes.note_training(["a"], ()) == []
    study.note_training(["a"], ())
    assert boxes.note_training(["a"], ()) == ["a"]
    assert boxes.holds("a")
    assert not study.holds("a")


def test_a_box_that_trains_and_never_answers_an_evaluation_is_held(tiny_settings):
    ward = Quarantine(tiny_settings("defence.quarantine=2"))
    assert ward.note_evaluation(["a", "b"], {"a", "b"}) == []  # round 0
    for held in ([], ["b"]):
        assert ward.note_training(["a", "b"], {"a", "b"}) == []
        assert ward.note_evaluation(["a", "b"], {"a"}) == held
    assert (ward.holds("a"), ward.holds("b")) == (False, True)


def test_a_round_whose_training_and_evaluation_fail_counts_once(tiny_settings):
    ward = Quarantine(tiny_settings("defence.quarantine=3"))
    for _ in range(2):
        assert ward.note_training(["a"], ()) == []
        assert ward.note_evaluation(["a"], ()) == []
    assert not ward.holds("a")
    assert ward.note_training(["a"], ()) == ["a"]
    assert ward.note_evaluation(["a"], ()) == [], "it is said once"


def test_a_good_round_after_a_missed_evaluation_counts_anew(tiny_settings):
    ward = Quarantine(tiny_settings("defence.quarantine=2"))
    for scored in ((), {"a"}, ()):
        ward.note_training(["a"], {"a"})
        assert ward.note_evaluation(["a"], scored) == []
    assert not ward.holds("a")

"""Claims about the log of `fedklpr simulate`: what was told as a note is not told twice."""

import logging

from fedklpr_flwr.commands.simulate import _PlainHandler


def told(capsys, notes, *texts):
    for text in texts:
        _PlainHandler(notes).emit(logging.makeLogRecord({"msg": text}))
    return capsys.readouterr().out.splitlines()


def test_a_warning_that_was_a_note_is_left_out_whatever_stands_before_it(capsys):
    notes = ["gate: 3 pictures cannot be decoded"]
    texts = ("warning: 3 pictures cannot be decoded", "gate: merged")
    assert told(capsys, notes, *texts) == ["gate: merged"]


def test_a_note_without_a_colon_silences_no_line_without_one(capsys):
    """As `--continue RUN` says it where no setting was changed."""
    notes = ["continues runs/week1, settings as there"]
    assert told(capsys, notes, "round 0/1  Rank-1 0.1") == ["round 0/1  Rank-1 0.1"]

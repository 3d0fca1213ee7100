"""Claims about fedklpr_flwr.report.run_picture: a run with accuracies has a picture of them."""

import pytest
from PIL import Image

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report.run_picture import draw_run
from fedklpr_flwr.runs.rows import Row, round_row

pytest.importorskip("matplotlib")


def rows_of(rank1):
    told = []
    for number, score in enumerate(rank1):
        own = Row(number, "a", rank1=score, status="merged", bytes_up=3_000_000 * (number > 0))
        own.bytes_down, own.bytes_dense = 3_000_000, 9_000_000
        told += [own, round_row([own], 1.0, {})]
    return told


def test_the_picture_is_a_png_of_some_size(tmp_path):
    assert draw_run(rows_of((0.2, 0.3, 0.4)), "tiny", tmp_path / "run.png")
    width, height = Image.open(tmp_path / "run.png").size
    assert width > height > 400


def test_a_round_without_scores_is_left_out_and_one_alone_is_no_curve(tmp_path):
    assert draw_run(rows_of((0.2, None, 0.4)), "tiny", tmp_path / "run.png")
    for rank1 in ((), (0.2,), (None, None, 0.3)):
        assert not draw_run(rows_of(rank1), "tiny", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_picture_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        draw_run(rows_of((0.2, 0.3)), "tiny", tmp_path / "nowhere" / "run.png")

"""Claims about fedklpr_flwr.report.comparison_plots: what is drawn, and that it is a picture."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from run_folders import scores, write_run

from fedklpr_flwr.report.comparison import compare_folders
from fedklpr_flwr.report.comparison_plots import client_gains, curve_of, style_of, write_plots


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    write_run(folder / "a", "seed=0", rank1=scores(0.5, 0.7))
    write_run(folder / "b", "seed=1", rank1=scores(0.6, 0.8))
    write_run(folder / "c", "seed=0", "method=local_only", rank1=scores(0.4, 0.8))
    write_run(folder / "d", "seed=1", "method=local_only", rank1=scores(0.3, 0.9))
    write_run(folder / "e", "method=centralised", rank1=({"joined": 0.2}, {"joined": 0.95}))
    return folder


@pytest.mark.slow
def test_a_curve_is_rank_1_over_the_bytes_moved_so_far(runs):
    comparison = compare_folders([runs])
    curve = curve_of(comparison.group("fedklpr"))
    assert curve.megabytes == (2.0, 8.0)
    assert [one.mean for one in curve.rank1] == [pytest.approx(0.3), pytest.approx(0.65)]
    assert curve.rank1[1].deviation == pytest.approx(0.1 / 2**0.5)


def test_a_gain_is_over_ones_own_rank_1_of_the_same_seed(runs):
    comparison = compare_folders([runs])
    gains = client_gains(comparison.group("fedklpr"), comparison.group("local_only"))
    assert gains["ash"].mean == pytest.approx(0.2)
    assert gains["ash"].error == pytest.approx(0.1)
    assert gains["birch"].mean == pytest.approx(-0.1)
    pooled = comparison.group("centralised")
    assert client_gains(pooled, comparison.group("local_only")) == {}


def test_both_pictures_are_drawn(runs, tmp_path):
    files, sentences = write_plots(compare_folders([runs]), tmp_path)
    assert [file.name for file in files] == ["accuracy_over_bytes.png", "gain_over_local_only.png"]
    assert sentences == []
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB"))
        assert pixels.shape[0] > 300
        assert pixels.std() > 5, "an empty picture"
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edge == 255).mean() > 0.99, "something is cut off at the edge"


def test_without_local_only_there_is_a_sentence_in_place_of_the_gains(tmp_path):
    write_run(tmp_path / "runs" / "a")
    files, (sentence,) = write_plots(compare_folders([tmp_path / "runs"]), tmp_path)
    assert [file.name for file in files] == ["accuracy_over_bytes.png"]
    assert "there is no run of method=local_only" in sentence


def test_with_local_only_alone_there_is_nothing_to_gain(tmp_path):
    write_run(tmp_path / "runs" / "a", "method=local_only")
    _, (sentence,) = write_plots(compare_folders([tmp_path / "runs"]), tmp_path)
    assert "no method shares" in sentence


def test_without_a_score_nothing_is_drawn(tmp_path):
    none = ({"ash": None, "birch": None}, {"ash": None, "birch": None})
    write_run(tmp_path / "runs" / "a", rank1=none)
    files, sentences = write_plots(compare_folders([tmp_path / "runs"]), tmp_path)
    assert files == []
    assert len(sentences) == 2


def test_no_two_of_28_styles_are_alike_and_neighbours_differ_in_colour_and_marker():
    styles = [style_of(number) for number in range(28)]
    assert len({(style.colour, style.line) for style in styles}) == 28
    for one, other in pairwise(styles):
        assert one.colour != other.colour
        assert one.marker != other.marker

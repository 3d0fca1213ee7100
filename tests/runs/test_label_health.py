"""Claims about fedklpr_flwr.runs.label_health: labels that can teach nothing are called so."""

import pytest

from fedklpr_flwr.runs.label_health import labels_line
from fedklpr_flwr.runs.progress_line import progress_line
from fedklpr_flwr.runs.rows import Row, label_fault, round_row, withhold


def trained(client="own", **more):
    told = {"clusters": 6, "examples": 30, "outliers": 3, "camera_span": 0.7} | more
    return Row(2, client, status="merged", **told)


def judged(row, **how):
    """A line as the server writes it."""
    row.degenerate = label_fault(row, **how)
    return row


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"clusters": 1, "outliers": 0}, "30 pictures all in one cluster"),
        ({"clusters": 1, "outliers": 5}, "25 pictures all in one cluster"),
        ({"clusters": 2, "outliers": 24}, "24 of 30 pictures outliers"),
        ({"camera_span": 0.0}, "6 clusters of one camera each"),
        ({"clusters": 0, "outliers": 30, "idle": True}, "no cluster, nothing trained"),
        ({"clusters": 1, "examples": None}, "all in one cluster"),
        ({"clusters": 17}, "17 clusters of 27 pictures, hardly two in each"),
    ],
)
def test_each_way_to_learn_nothing_has_its_words(more, said):
    assert label_fault(trained(**more)) == said


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"outliers": 23, "clusters": 3},  # of 30, under four in five
        {"camera_span": None},  # one camera: nothing to span
        {"clusters": 13},  # of 27 pictures: pairs
        {"clusters": 6, "examples": None},  # a run of before pictures were counted
    ],
)
def test_labels_that_may_teach_are_left_alone(more):
    assert label_fault(trained(**more)) is None


def test_who_did_not_train_or_keeps_its_counts_to_itself_is_not_judged():
    assert label_fault(Row(0, "own", status="merged", clusters=1)) is None
    assert label_fault(Row(2, "own", status="failed")) is None
    private = trained(clusters=1)
    withhold(private)
    assert label_fault(private) is None


def test_a_cluster_a_picture_is_how_bottom_up_merging_begins():
    early = trained(clusters=27, camera_span=0.0)
    assert label_fault(early, bottom_up=True) is None
    assert label_fault(early) is not None
    assert labels_line([judged(early, bottom_up=True)]) == "", "a report does not judge again"


def test_the_last_merged_round_counts_and_what_half_of_the_rounds_had():
    early = judged(Row(1, "own", status="merged", clusters=1, examples=30, outliers=0))
    assert labels_line([early, Row(2, "own", status="failed")]).startswith("labels that teach")
    assert "30 pictures all in one cluster (in 1 of 2 rounds)" in labels_line([early, trained()])
    assert labels_line([early, trained(), trained()]) == ""


def test_each_fault_has_its_cure():
    assert "labels.camera" not in labels_line([judged(trained(clusters=1))])
    cameras = labels_line([judged(trained(camera_span=0.0))])
    assert "labels.camera=zscore" in cameras
    assert "labels.neighbours=by_camera" in cameras
    assert "labels.k1" not in cameras
    assert "a larger labels.eps" in labels_line([judged(trained(clusters=20))])


def test_a_rounds_own_line_names_the_first_of_them():
    rows = [judged(trained(name, clusters=1, outliers=0)) for name in "abcdef"]
    summary = round_row(rows, 1.0, {})
    assert summary.degenerate is not None
    assert summary.degenerate.startswith("a: 30 pictures all in one cluster, b: ")
    assert summary.degenerate.endswith("and 2 more")
    assert "labels: a: 30 pictures all in one cluster" in progress_line(summary, 4)
    assert "labels" not in progress_line(round_row([trained()], 1.0, {}), 4)

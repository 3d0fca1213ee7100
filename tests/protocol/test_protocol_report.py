import json
import math

import pytest

from fedklpr_flwr.errors import MergeError
from fedklpr_flwr.protocol.figures import CRR_WORDS
from fedklpr_flwr.protocol.training_report import TrainingReport, read_scores


def a_report(**changes):
    fields = {
        "examples": 12,
        "divergence": 0.25,
        "cosine_distance": 0.5,
        "pruned": 0.1,
        "accuracy": 0.75,
        "clusters": 4,
        "outliers": 1,
        "idle": False,
        "crr": "pruned",
        "loss": 2.5,
        "kl_loss": 0.125,
        "seconds": {"train": 1.5},
    }
    return fields | changes


def test_a_report_survives_json():
    report = TrainingReport(**a_report(accuracy=None))
    assert TrainingReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("divergence", math.nan),
        ("divergence", -0.1),
        ("divergence", "much"),
        ("cosine_distance", 2.5),
        ("pruned", 1.5),
        ("accuracy", -1.0),
        ("examples", math.inf),
        ("loss", math.nan),
        ("crr", "maybe"),
        ("seconds", 3),
        ("seconds", {"train": -1.0}),
        ("seconds", {"train": 1e300}),
        ("seconds", {"train": 1.1e7}),
        ("seconds", {"\x1b]0;owned": 1.0}),
        ("seconds", {"[red]train": 1.0}),
        ("seconds", {"a" * 33: 1.0}),
        ("seconds", {f"phase{n}": 1.0 for n in range(33)}),
        ("examples", 10**10),
        ("divergence", 1e300),
        ("loss", -1e300),
        ("accuracy", True),
        ("examples", 2.5),
        ("examples", True),
        ("clusters", 10**400),
        ("outliers", "3"),
        ("idle", "false"),
        ("idle", 0),
        ("crr", ["pruned"]),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(MergeError, match=f"{name}|train"):
        TrainingReport.from_dict(a_report(**{name: value}))


def test_a_missing_field_is_named_and_a_new_one_ignored():
    fields = a_report()
    del fields["loss"]
    with pytest.raises(MergeError, match="'loss'"):
        TrainingReport.from_dict(fields)
    assert TrainingReport.from_dict(a_report(colour="red")).loss == 2.5


@pytest.mark.parametrize("word", CRR_WORDS)
def test_every_word_of_the_contract_is_accepted(word):
    assert TrainingReport.from_dict(a_report(crr=word)).crr == word


def test_scores_are_fractions_or_absent():
    said = {"rank1": 1, "map": 0.25, "minp": None, "colour": "red", "map_local": 0.5}
    unsaid = dict.fromkeys(("rank5", "rank10", "minp", "rank1_final", "map_final"))
    assert read_scores(said, "evaluate") == {"rank1": 1.0, "map": 0.25, **unsaid}
    assert read_scores(said, "train") == {"rank1_local": None, "map_local": 0.5}


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 1e300, 1.0001, -0.1, True, "0.5", b"0.5", [0.5], 10**400]
)
def test_a_score_that_cannot_be_is_refused_by_name(value):
    with pytest.raises(MergeError, match="'rank1', it has"):
        read_scores({"map": 0.5, "rank1": value}, "evaluate")


def test_an_error_shows_only_the_beginning_of_what_came():
    with pytest.raises(MergeError) as error:
        read_scores({"rank1": "x" * 10_000}, "evaluate")
    assert len(str(error.value)) < 400


def test_how_clusters_stand_against_the_truth_may_be_left_unsaid():
    assert TrainingReport.from_dict(a_report()).camera_split is None
    said = TrainingReport.from_dict(a_report(cluster_precision=0.5, camera_split=1.0))
    assert (said.cluster_precision, said.cluster_recall, said.camera_split) == (0.5, None, 1.0)
    with pytest.raises(MergeError, match="'cluster_recall', it has 2"):
        TrainingReport.from_dict(a_report(cluster_recall=2))

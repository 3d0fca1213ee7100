import json
import math

import pytest

from fedklpr_flwr.algorithm.update import CRR_WORDS, TrainingReport
from fedklpr_flwr.errors import MergeError


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

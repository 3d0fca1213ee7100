"""Claims about the ablations: each experiment file is FedKLPR on drawn sites less one thing."""

import dataclasses
from itertools import pairwise

import pytest

from fedklpr_flwr.config.compose import compose_settings, experiment_names, settings_to_dict
from fedklpr_flwr.config.experiment_guard import check_method
from fedklpr_flwr.errors import SettingsError

pytestmark = pytest.mark.slow


def leaves(values, path=""):
    for key, value in values.items():
        where = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from leaves(value, where)
        else:
            yield where, value


def difference(one, other):
    """The keys in which two experiments differ, and what the second says."""
    first, second = (
        dict(leaves(settings_to_dict(compose_settings(name)))) for name in (one, other)
    )
    return {k: v for k, v in second.items() if first[k] != v and k != "experiment_name"}


BY_ACCURACY = {"crr.test": "threshold"}
ABLATIONS = {
    "drawn_without_kll": {"method.drift_penalty": "none"},
    "drawn_without_klaw": {"method.aggregation_weights": "praw"},
    "drawn_without_praw": {"method.aggregation_weights": "klaw"},
    "drawn_without_merge": {"method.merge": "plain_mean"},
    "drawn_without_crr": {"method.pruning": "always"},
    "drawn_klaw_alignment": {
        "klaw.direction": "alignment",
        "klaw.data_power": 0.0,
        "klaw.bound": None,
    },
    "drawn_praw_pruned": {"praw.formula": "pruned"},
    "drawn_praw_density": {"praw.formula": "density"},
    "drawn_klpwa_mean": {"klpwa.combine": "mean"},
    "drawn_crr_cross_camera": {"crr.accuracy": "cross_camera", **BY_ACCURACY},
    "drawn_crr_rank1_test": {"crr.accuracy": "rank1_test", **BY_ACCURACY},
    "drawn_crr_previous_round": {"crr.reference": "previous_round", **BY_ACCURACY},
    "drawn_crr_best": {"crr.reference": "best", **BY_ACCURACY},
    "drawn_crr_rollback": {"crr.rollback": True, **BY_ACCURACY},
    "drawn_after_training": {"pruning.when": "after_training"},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_thing(name):
    assert difference("drawn", name) == ABLATIONS[name]


@pytest.mark.parametrize("name", ["drawn_without_klaw", "drawn_ladder_1_capr"])
def test_an_ablation_of_fedklpr_is_refused_with_another_method(name):
    said = rf"method=fedavg with experiment={name}, which is fedklpr with another method\..*=drawn$"
    with pytest.raises(SettingsError, match=said):
        compose_settings(name, ("seed=1", "method=fedavg"))
    assert compose_settings(name, ("method=fedklpr",)) == compose_settings(name)


def test_an_experiment_that_changes_no_choice_of_a_method_takes_any():
    settings = compose_settings("drawn_klaw_alignment", ("method=fedavg",))
    assert settings.method == compose_settings("drawn", ("method=fedavg",)).method


def test_an_experiment_of_ones_own_is_of_the_method_that_it_names(tmp_path):
    def write(name, *lines):
        (tmp_path / f"{name}.yaml").write_text("\n".join(lines))

    write("town", "seed: 1")
    write("uniform", "defaults:", "- town", "- override /method: fedavg", "- _self_")
    with (tmp_path / "uniform.yaml").open("a") as file:
        file.write("\nmethod:\n  aggregation_weights: uniform\n")
    write("shorter", "defaults:", "- uniform", "- _self_")
    check_method(tmp_path, "shorter", ["method=fedavg"])
    check_method(tmp_path, "town", ["method=fedprox"])
    with pytest.raises(SettingsError, match=r"which is fedavg with .*experiment=town$"):
        check_method(tmp_path, "shorter", ["method=fedprox"])


def test_the_ladder_adds_one_part_a_step_and_ends_with_fedklpr():
    steps = [*sorted(name for name in experiment_names() if "ladder" in name), "drawn"]
    assert len(steps) == 7
    assert [difference(one, other) for one, other in pairwise(steps)] == [
        {"method.drift_penalty": "kl"},
        {"method.aggregation_weights": "klaw"},
        {"method.pruning": "always"},
        {"method.merge": "masked_mean"},
        {"method.aggregation_weights": "klpwa"},
        {"method.pruning": "recovery"},
    ]
    bottom = compose_settings(steps[0]).method
    fedavg = compose_settings("drawn", ("method=fedavg",)).method
    same = {"name": "", "merge": "masked_mean"}  # with full masks both means are one
    assert dataclasses.replace(bottom, **same) == dataclasses.replace(fedavg, **same)

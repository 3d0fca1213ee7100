"""A configuration whose values are set in a copy is the one that Hydra composes at once."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fedklpr_flwr.config import hydra_composition
from fedklpr_flwr.config.compose import configuration_folder
from fedklpr_flwr.config.hydra_composition import composed


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("seed=3", "kl.weight=0.25", "data.root='/srv/my pictures'"),
        ("method=fedavg", "seed=3", "method.pruning=none"),
        ("deployment=true", "federation.rounds=2"),
        ("deployment=true", "defence=study", "defence.norm_bound=2"),
        ("data.clients=[{name: a, reader: folder, folder: a}]", "seed=1", "seed=2"),
        ("+data.more.deep=1", "data.more.deep=2", "labels.k1=null"),
        ("run.dir=${experiment_name}", "experiment_name=other"),
        ("~kl.from_round", "seed=4"),
    ],
)
def test_values_set_in_a_copy_equal_hydras_own(words):
    folder = configuration_folder()
    all_words = ["experiment=smoke", *words]
    twice = [composed(folder, all_words) for _ in range(2)]  # the second from the cache
    wanted = OmegaConf.to_yaml(hydra_composition._by_hydra(folder, all_words), resolve=True)
    assert [OmegaConf.to_yaml(config, resolve=True) for config in twice] == [wanted] * 2


def test_what_one_run_sets_does_not_reach_the_next():
    folder = configuration_folder()
    first = composed(folder, ["experiment=smoke", "data.clients=[]", "kl.weight=9"])
    second = composed(folder, ["experiment=smoke"])
    assert first.kl.weight == 9
    assert second.kl.weight != 9
    assert second.data.clients != first.data.clients


def test_a_file_that_was_edited_is_read_again(tmp_path: Path):
    folder = shutil.copytree(configuration_folder(), tmp_path / "conf")
    assert composed(folder, ["experiment=smoke"]).kl.temperature != 7
    group = folder / "kl" / "default.yaml"
    text = group.read_text(encoding="utf-8")
    old = next(line for line in text.splitlines() if line.startswith("temperature:"))
    group.write_text(text.replace(old, "temperature: 7"), encoding="utf-8")
    assert composed(folder, ["experiment=smoke"]).kl.temperature == 7


def test_other_values_need_no_composition_of_their_own(monkeypatch):
    folder = configuration_folder()
    composed(folder, ["experiment=smoke", "seed=1"])
    monkeypatch.setattr(hydra_composition, "_by_hydra", None)
    assert composed(folder, ["experiment=smoke", "seed=2"]).seed == 2

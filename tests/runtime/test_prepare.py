"""Claims about fedklpr_flwr.runtime.prepare: a command line is checked before anything starts."""

import json
import os

import pytest

from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.runtime.places import new_run_folder, user_cache
from fedklpr_flwr.runtime.prepare import RUN_CONFIG, point_latest, prepare
from fedklpr_flwr.settings import load_settings


def test_what_flower_carries_reads_back_to_the_checked_settings(tmp_path):
    folder = tmp_path / "a run's folder = here"
    prepared = prepare(["experiment=smoke", f"run.dir={folder}", "seed=3"])
    assert load_settings(prepared.run_config) == prepared.settings
    assert (prepared.settings.seed, prepared.folder) == (3, folder)
    assert set(prepared.run_config) == {"experiment", "overrides"}
    assert all(isinstance(value, str) for value in prepared.run_config.values())
    assert json.loads((folder / RUN_CONFIG).read_text()) == prepared.run_config


def test_without_a_folder_a_new_one_is_made_in_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared = prepare(["experiment=smoke"])
    assert prepared.folder.parent == tmp_path / "runs"
    assert prepared.folder.name.endswith("-smoke-fedklpr")
    assert prepared.settings.run.dir == str(prepared.folder)
    assert prepared.folder.is_dir()


def test_two_runs_of_one_second_do_not_share_a_folder(tmp_path):
    first = new_run_folder(tmp_path, "smoke", "fedavg")
    first.mkdir()
    assert new_run_folder(tmp_path, "smoke", "fedavg") != first


def test_the_latest_run_is_pointed_at(tmp_path):
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        (runs / name).mkdir(parents=True)
        point_latest(runs / name)
    assert (runs / "latest").resolve() == runs / "second"
    assert sorted(path.name for path in runs.iterdir()) == ["first", "latest", "second"]


def test_a_folder_called_latest_is_left_alone(tmp_path):
    runs = tmp_path / "runs"
    (runs / "latest" / "precious").mkdir(parents=True)
    (runs / "first").mkdir()
    point_latest(runs / "first")
    assert (runs / "latest" / "precious").is_dir()
    assert sorted(path.name for path in runs.iterdir()) == ["first", "latest"]


def test_a_folder_that_cannot_be_written_stops_the_run_before_it_starts(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"run\.dir=.*file/run cannot be written"):
        prepare(["experiment=smoke", f"run.dir={tmp_path}/file/run"])


def test_a_folder_with_a_run_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(RunError, match=f"already holds a run: go on with resume={tmp_path}"):
        prepare(["experiment=smoke", f"run.dir={tmp_path}"])


# ---------------------------------------------------------------------------- going on


@pytest.fixture
def begun(tmp_path):
    return prepare(
        ["experiment=smoke", f"run.dir={tmp_path}/it's a run", "seed=3", "pruning.rate=0.2"]
    )


def test_a_resumed_run_has_the_settings_it_began_with(begun):
    again = prepare([f"resume={begun.folder}"])
    assert again.folder == begun.folder
    assert (again.settings.experiment, again.settings.seed) == ("smoke", 3)
    assert again.settings.pruning.rate == 0.2
    assert again.settings.resume == str(begun.folder)


def test_what_is_said_on_resuming_has_the_last_word_and_is_kept(begun):
    prepare([f"resume={begun.folder}", "federation.rounds=9"])
    again = prepare([f"resume={begun.folder}", "pruning.rate=0.3"])
    assert (again.settings.federation.rounds, again.settings.pruning.rate) == (9, 0.3)


def test_another_experiment_cannot_be_resumed_into(begun):
    with pytest.raises(SettingsError, match=r"experiment=drawn.*is experiment=smoke"):
        prepare([f"resume={begun.folder}", "experiment=drawn"])


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        prepare([f"resume={tmp_path}"])
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------- places


def test_the_cache_is_where_the_user_says_or_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path / "own"))
    assert user_cache() == tmp_path / "own"
    monkeypatch.delenv("FEDKLPR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "fedklpr"

"""Claims about fedklpr_flwr.launch.prepare: a command line is checked before anything starts."""

import json
import os
import shlex
import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny_federation import tiny_overrides

from fedklpr_flwr.config.compose import load_settings
from fedklpr_flwr.errors import DataError, RunError, SettingsError, WeightsError
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.runs.lock import SERVER, hold
from fedklpr_flwr.runs.trusted_runs import write_own_settings
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.git_commit import code_commit
from fedklpr_flwr.system.paths import new_run_folder, point_latest, user_cache


def test_what_flower_carries_reads_back_to_the_checked_settings(tmp_path):
    folder = tmp_path / "a run's folder = here"
    prepared = prepare(["experiment=smoke", f"run.dir={folder}", "seed=3"])
    assert load_settings(prepared.run_config) == prepared.settings
    assert (prepared.settings.seed, prepared.folder) == (3, folder)
    assert set(prepared.run_config) == {"experiment", "overrides"}
    assert all(isinstance(value, str) for value in prepared.run_config.values())
    kept = json.loads((folder / run_files.RUN_CONFIG).read_text())
    assert kept == {**prepared.run_config, "commits": [code_commit()]}


def test_real_boxes_are_sent_settings_that_are_resolved_and_two_of_them_a_warning(tmp_path):
    words = ["experiment=smoke", f"run.dir={tmp_path / 'run'}", "deployment=true", "seed=3"]
    prepared = prepare([*words, "federation.start_clients=2"], simulated=False)
    carried = {"experiment": "drawn", "overrides": "", **prepared.run_config}
    assert load_settings({"settings": carried["settings"]}) == prepared.settings
    kept = json.loads((tmp_path / "run" / run_files.RUN_CONFIG).read_text())
    assert "settings" not in kept, "a resumed run is composed anew from what it was started with"
    assert any("2 clients have no median" in note for note in prepared.notes)


@pytest.mark.slow
def test_a_run_of_real_boxes_is_not_continued_with_simulated_clients(tmp_path):
    folder = tmp_path / "run"
    prepare(["experiment=smoke", f"run.dir={folder}"], simulated=False).release()
    with pytest.raises(SettingsError, match="fedklpr run --superlink NAME resume="):
        prepare([f"resume={folder}"])
    prepare([f"resume={folder}"], simulated=False).release()
    with pytest.raises(SettingsError, match="is a run of real boxes"):
        prepare([f"resume={folder}"])


def test_without_a_folder_a_new_one_is_made_in_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared = prepare(["experiment=smoke"])
    assert prepared.folder.parent == tmp_path / "runs"
    assert prepared.folder.name.endswith("-smoke-fedklpr")
    assert prepared.settings.run.dir == str(prepared.folder)
    assert prepared.folder.is_dir()


def test_two_runs_of_one_second_do_not_share_a_folder(tmp_path):
    first, second = (new_run_folder(tmp_path, "smoke", "fedavg") for _ in range(2))
    assert first != second
    assert first.is_dir()
    assert second.is_dir()


def test_a_refused_run_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError):
        prepare(["experiment=smoke", "model.weights=/no/such/file"])
    assert os.listdir(tmp_path) == []


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
    prepared = prepare(
        ["experiment=smoke", f"run.dir={tmp_path}/it's a run", "seed=3", "pruning.rate=0.2"]
    )
    prepared.release()
    return prepared


def test_a_resumed_run_has_the_settings_it_began_with(begun):
    again = prepare([f"resume={begun.folder}"])
    assert again.folder == begun.folder
    assert (again.settings.experiment, again.settings.seed) == ("smoke", 3)
    assert again.settings.pruning.rate == 0.2
    assert again.settings.resume == str(begun.folder)


@pytest.mark.slow
def test_what_is_said_on_resuming_has_the_last_word_and_is_kept(begun):
    prepare([f"resume={begun.folder}", "federation.rounds=9"]).release()
    again = prepare([f"resume={begun.folder}", "pruning.rate=0.3"])
    assert (again.settings.federation.rounds, again.settings.pruning.rate) == (9, 0.3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["1234abc"], ["1234abc", code_commit()]),
        ([code_commit()], [code_commit()]),
        (None, ["not recorded", code_commit()]),
    ],
)
def test_a_run_keeps_every_commit_that_it_went_on_with(before, after, begun):
    file = begun.folder / run_files.RUN_CONFIG
    kept = json.loads(file.read_text())
    kept |= {"commits": before}
    file.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}))
    prepare([f"resume={begun.folder}"]).release()
    assert json.loads(file.read_text())["commits"] == after


def test_another_experiment_cannot_be_resumed_into(begun):
    with pytest.raises(SettingsError, match=r"experiment=drawn.*is experiment=smoke"):
        prepare([f"resume={begun.folder}", "experiment=drawn"])


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        prepare([f"resume={tmp_path}"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"experiment": "smoke"}'])
def test_a_damaged_run_config_is_named_with_what_belongs_in_it(text, begun):
    (begun.folder / run_files.RUN_CONFIG).write_text(text)
    with pytest.raises(RunError, match=r"run-config\.json is damaged.*experiment"):
        prepare([f"resume={begun.folder}"])


@pytest.mark.slow
def test_a_second_command_on_a_folder_is_refused_and_changes_nothing(begun):
    first = prepare([f"resume={begun.folder}", "federation.rounds=9"])
    before = {file.name: file.read_bytes() for file in begun.folder.iterdir()}
    with pytest.raises(RunError, match="in use by another run"):
        prepare([f"resume={begun.folder}", "federation.rounds=11"])
    assert {file.name: file.read_bytes() for file in begun.folder.iterdir()} == before
    first.release()
    prepare([f"resume={begun.folder}"]).release()


def test_a_server_started_by_hand_keeps_commands_out(begun, monkeypatch):
    monkeypatch.setattr("fedklpr_flwr.launch.prepare._ENDING_SECONDS", 0.1)
    server = hold(begun.folder, SERVER)
    with pytest.raises(RunError, match="in use by another run"):
        prepare([f"resume={begun.folder}"])
    server.close()


def test_a_resumed_run_stays_in_its_folder(begun, tmp_path):
    with pytest.raises(SettingsError, match=r"run\.dir=.*leave run\.dir out"):
        prepare([f"resume={begun.folder}", f"run.dir={tmp_path}/elsewhere"])


def test_no_app_that_lies_in_a_run_folder_is_ever_run(begun, tmp_path):
    planted = begun.folder / ".flower" / "apps" / "fedklpr.fedklpr-flwr.0.1.0.0123abcd"
    planted.mkdir(parents=True)
    (planted / "evil.py").write_text("raise SystemExit")
    (begun.folder / ".flower" / "config.toml").write_text("")
    prepare([f"resume={begun.folder}"]).release()
    assert not (begun.folder / ".flower").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kept").write_text("")
    (begun.folder / ".flower").symlink_to(mine)
    with pytest.raises(RunError, match="is a link to"):
        prepare([f"resume={begun.folder}"])
    assert (mine / "kept").exists()


LOOKED_UP = "run.memory='/tmp/m-${oc.env:FEDKLPR_TEST_SECRET}'"


def say_otherwise(folder, *words):
    """What somebody else's run-config.json may say."""
    file = folder / run_files.RUN_CONFIG
    said = json.loads(file.read_text())
    said["overrides"] = shlex.join([*shlex.split(said["overrides"]), *words])
    file.write_text(json.dumps(said))


def test_somebody_elses_run_goes_on_after_trust_alone_and_looks_nothing_up(begun, tmp_path):
    say_otherwise(begun.folder, f"data.cache='{tmp_path}/theirs'")
    with pytest.raises(RunError, match=r"was not begun here by this user.*--trust"):
        prepare([f"resume={begun.folder}"])
    assert not (tmp_path / "theirs").exists()
    prepare([f"resume={begun.folder}"], trust=True).release()
    assert prepare([f"resume={begun.folder}"]).settings.data.cache == f"{tmp_path}/theirs"


def test_nothing_is_looked_up_for_somebody_elses_run_trust_or_not(begun, monkeypatch):
    monkeypatch.setenv("FEDKLPR_TEST_SECRET", "hunter2")
    say_otherwise(begun.folder, LOOKED_UP)
    with pytest.raises(SettingsError, match="not taken from somebody else's run") as error:
        prepare([f"resume={begun.folder}"], trust=True)
    assert "hunter2" not in str(error.value)


def test_a_servers_start_makes_what_a_run_began_with_no_ones_own(begun):
    say_otherwise(begun.folder, "federation.rounds=9")
    write_own_settings(begun.settings, begun.folder)
    with pytest.raises(RunError, match="--trust"):
        prepare([f"resume={begun.folder}"])


def test_a_mark_is_of_one_users_key(begun, monkeypatch, tmp_path):
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path / "another"))
    with pytest.raises(RunError, match="--trust"):
        prepare([f"resume={begun.folder}"])


def test_a_run_of_before_run_config_was_marked_goes_on_while_both_files_say_one_thing(begun):
    write_own_settings(begun.settings, begun.folder)
    (begun.folder / ".begun-here").unlink()
    kept = (begun.folder / run_files.RUN_CONFIG).read_text()
    for words in (["federation.rounds=9"], ["wire.level=${oc.env:HOME,fast}"]):
        say_otherwise(begun.folder, *words)
        with pytest.raises(RunError, match="--trust"):
            prepare([f"resume={begun.folder}"])
        (begun.folder / run_files.RUN_CONFIG).write_text(kept)
    prepare([f"resume={begun.folder}", "federation.rounds=9"]).release()
    assert prepare([f"resume={begun.folder}"]).settings.federation.rounds == 9


# ---------------------------------------------------------------------------- bad input


def test_a_reader_that_does_not_exist_is_refused_with_those_that_do(tmp_path):
    for reader, there in (("market", "market1501"), ("drawn:nosuch", "drawn:airport")):
        client = f"data.clients=[{{name: a, reader: '{reader}', folder: null}}]"
        words = ["experiment=smoke", client, f"run.dir={tmp_path}/run", f"data.root={tmp_path}"]
        with pytest.raises(SettingsError, match=f"reader={reader}.*{there}"):
            prepare([*words, "federation.min_clients=1"])
    assert os.listdir(tmp_path) == []


def of_sites(sites, tmp_path):
    return ["experiment=smoke", *tiny_overrides(sites, ["ash", "birch"]), f"run.dir={tmp_path}/run"]


def test_a_truncated_picture_stops_the_run_before_it_starts(sites, tmp_path):
    shutil.copytree(sites, tmp_path / "sites")
    broken = next((tmp_path / "sites" / "birch" / "train").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{broken.name}.*data\.skip_unreadable=true"):
        prepare(of_sites(tmp_path / "sites", tmp_path))
    assert not (tmp_path / "run").exists()
    prepare([*of_sites(tmp_path / "sites", tmp_path), "data.skip_unreadable=true"])


def test_what_cannot_be_searched_is_noted_before_the_run_starts(sites, tmp_path):
    shutil.copytree(sites, tmp_path / "sites")
    for part in ("query", "gallery"):
        shutil.rmtree(tmp_path / "sites" / "ash" / part)
    shutil.rmtree(next((tmp_path / "sites" / "birch" / "gallery").iterdir()))
    prepared = prepare(of_sites(tmp_path / "sites", tmp_path))
    ash, birch = prepared.notes
    assert ash.startswith("ash: no query pictures")
    assert birch.startswith("birch: 2 of 8 queries have no picture of their person")


@pytest.mark.parametrize("key", ["data.cache", "run.memory"])
def test_a_place_that_cannot_be_written_is_named_with_its_key(key, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=rf"{key}=.*file/x cannot be written"):
        prepare(["experiment=smoke", f"{key}={tmp_path}/file/x", f"run.dir={tmp_path}/run"])


def test_weights_that_do_not_fit_are_refused_before_anything_starts(tmp_path):
    save_file({"nonsense": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        prepare(["experiment=smoke", f"model.weights={tmp_path}/other.safetensors"])


@pytest.mark.parametrize(
    "word",
    ["hydra.run.dir=x", "experiment_name=a/b", "seed", "=1", "federation.round_seconds=inf"],
)
def test_what_is_no_setting_is_refused(word, tmp_path):
    with pytest.raises(SettingsError):
        prepare(["experiment=smoke", word, f"run.dir={tmp_path}/run"])


# ---------------------------------------------------------------------------- places


def test_the_cache_is_where_the_user_says_or_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path / "own"))
    assert user_cache() == tmp_path / "own"
    monkeypatch.delenv("FEDKLPR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "fedklpr"


def test_a_crowd_is_drawn_before_its_clients_start(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDKLPR_CACHE", str(tmp_path / "cache"))
    words = ["experiment=many", "data.many.clients=4", f"run.dir={tmp_path}/run"]
    prepared = prepare(words)
    prepared.release()
    assert len(list((tmp_path / "cache" / "drawn").rglob("*.png"))) == 4 * (4 + 2) * 4
    assert len(prepared.settings.data.clients) == 4
    unseen = [note for note in prepared.notes if "accuracies stay empty" in note]
    assert len(unseen) <= 1, "clients of one note share a sentence"

"""Claims about `--continue RUN`: which runs are continued, by which settings, and what is said."""

import json
import shlex

import numpy as np
import pytest
from tiny_federation import write_pictures

from fedklpr_flwr.commands.run import with_continued
from fedklpr_flwr.config.compose import load_settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.runs.checkpoint import RunFolder, ServerState
from fedklpr_flwr.runs.run_chain import runs_before
from fedklpr_flwr.runs.trusted_runs import write_own_settings


def finish(folder, *words, done=2, status="finished", simulated=True, experiment="smoke"):
    """A run folder as a run of that many merged rounds leaves it, without its training."""
    given = [f"experiment={experiment}", *words, f"run.dir={folder}"]
    prepared = prepare(given, simulated=simulated)
    prepared.release()
    write_own_settings(prepared.settings, folder)
    opened = RunFolder(folder)
    tensors = {"weight": np.zeros(2, np.float32)}
    opened.commit(ServerState("key-of-before", done, tensors, tensors), [])
    opened.write_status(status)
    opened.close(done=True)
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("week") / "before", "pruning.rate=0.2")


@pytest.fixture
def continued(before, tmp_path):
    """`continued(WORD, ...)`: the prepared run that continues `before`; its folder is let go."""

    def prepared(*words, run=before, **how):
        word = with_continued(list(words), run)
        found = prepare([*word, f"run.dir={tmp_path / 'after'}"], **how)
        found.release()
        return found

    return prepared


def test_settings_are_those_of_the_run_before_but_for_what_is_said(before, continued, tmp_path):
    found = continued("federation.rounds=5", "pruning.rate=0.1")
    assert found.settings.run.continues == str(before)
    assert (found.settings.experiment, found.settings.pruning.rate) == ("smoke", 0.1)
    assert found.folder == tmp_path / "after"
    (note,) = [note for note in found.notes if "continues" in note]
    assert f"continues {before}, its 2 rounds" in note
    assert "federation.rounds=5 (2 there)" in note
    assert "pruning.rate=0.1 (0.2 there)" in note
    assert "run.dir" not in note
    assert load_settings(found.run_config) == found.settings


def test_words_do_not_pile_up_from_week_to_week(continued, tmp_path):
    continued("pruning.rate=0.1", "federation.rounds=3")
    begun = json.loads((tmp_path / "after" / "run-config.json").read_text())
    words = [word.partition("=")[0] for word in shlex.split(begun["overrides"])]
    assert sorted(words) == ["federation.rounds", "pruning.rate", "run.continues", "run.dir"]


def test_a_run_that_changes_nothing_says_so(continued):
    assert any("settings as there" in note for note in continued().notes)


def test_a_folder_without_a_run_is_refused(continued, tmp_path):
    with pytest.raises(RunError, match=r"--continue \S+nowhere is not a run folder"):
        continued(run=tmp_path / "nowhere")
    assert not (tmp_path / "after").exists()


def test_a_file_is_no_run_folder(continued, tmp_path):
    (tmp_path / "notes.txt").write_text("a file of another kind")
    with pytest.raises(RunError, match=r"--continue \S+notes.txt is not a run folder"):
        continued(run=tmp_path / "notes.txt")


@pytest.mark.parametrize(("done", "status"), [(1, "failed"), (2, "failed"), (1, "finished")])
def test_a_run_that_is_not_finished_is_refused(done, status, continued, tmp_path):
    run = finish(tmp_path / "stopped", done=done, status=status)
    with pytest.raises(RunError, match=rf"is not finished \({done} of 2 rounds, .*resume="):
        continued(run=run)


def test_a_run_without_a_round_is_refused(continued, tmp_path):
    prepare(["experiment=smoke", f"run.dir={tmp_path / 'begun'}"]).release()
    with pytest.raises(RunError, match=r"has no state\.json"):
        continued(run=tmp_path / "begun")


def test_somebody_elses_run_needs_trust(continued, tmp_path):
    run = finish(tmp_path / "theirs")
    told = json.loads((run / "run-config.json").read_text())
    (run / "run-config.json").write_text(json.dumps({**told, "overrides": "seed=0"}))
    (run / ".made-here").unlink()
    with pytest.raises(RunError, match=r"--continue \S+theirs was not begun here .*--trust"):
        continued(run=run)
    assert continued(run=run, trust=True).settings.run.continues == str(run)


def test_a_run_folder_with_links_is_refused(continued, tmp_path):
    run = finish(tmp_path / "linked")
    (run / "memory").symlink_to(tmp_path)
    with pytest.raises(RunError, match="is a link"):
        continued(run=run)


@pytest.mark.parametrize(
    "word",
    [
        "model.backbone=resnet18",
        "model.height=96",
        "model.weights=imagenet",
        "seed=1",
        "method=fedavg",
        "privacy=local_dp",
        "pruning.stem=true",
        "data.scenario=by_camera",
    ],
)
def test_what_models_and_memories_are_made_by_cannot_change(word, continued):
    key = word.partition("=")[0]
    with pytest.raises(SettingsError, match=rf"--continue \S+ cannot change .*{key}.*weights="):
        continued(word)


def test_another_experiment_is_refused_and_the_same_one_may_be_said(continued):
    with pytest.raises(SettingsError, match=r"experiment=many: .* is experiment=smoke"):
        continued("experiment=many")
    assert continued("experiment=smoke").settings.experiment == "smoke"


def test_resumed_and_continued_at_once_is_refused(before, continued):
    with pytest.raises(SettingsError, match="leave out one of the two"):
        continued(f"resume={before}")


def test_real_boxes_and_simulated_clients_do_not_continue_each_others_runs(continued, tmp_path):
    with pytest.raises(SettingsError, match="is a run of simulated clients"):
        continued(simulated=False)
    run = finish(tmp_path / "boxes", "deployment=true", simulated=False)
    with pytest.raises(SettingsError, match="is a run of real boxes"):
        continued(run=run)
    assert continued(run=run, simulated=False).settings.deployment


def test_a_run_does_not_continue_into_its_own_folder(before):
    with pytest.raises(RunError, match="already holds a run"):
        prepare([f"run.continues={before}", f"run.dir={before}"])


def test_what_somebody_elses_run_says_it_continues_is_not_followed(before, continued):
    found = continued()
    write_own_settings(found.settings, found.folder)
    chain = [folder for folder, _ in runs_before(str(found.folder))]
    assert chain == [found.folder, before]
    (found.folder / ".made-here").unlink()
    assert [folder for folder, _ in runs_before(str(found.folder))] == [found.folder]


def test_a_folder_that_came_since_every_folder_was_made_a_site_is_named(continued, tmp_path):
    for name in ("gate", "yard"):
        write_pictures(tmp_path / "own" / name / "train", [0], 2, 0)
    words = (f"data.root={tmp_path / 'own'}", "federation.rounds=2", "model.weights=null")
    week1 = finish(tmp_path / "week1", *words, experiment="own")
    assert not any("no site of" in note for note in continued(run=week1).notes)
    write_pictures(tmp_path / "own" / "hall" / "train", [0], 2, 0)
    found = continued(run=week1)
    assert [one.name for one in found.settings.data.clients] == ["gate", "yard"]
    (note,) = [note for note in found.notes if "no site of the run" in note]
    assert note.startswith("hall: in data.root")

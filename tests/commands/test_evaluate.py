"""Claims about `fedklpr evaluate`: it scores the models that were scored, or says why it cannot."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny_federation import NAMES, interfering, write_pictures
from wiretap import PAIR, memory_folder

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.client.state_store import MemoryFolder
from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.model.evaluation import evaluate_across, evaluate_site
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.runs.trained_models import open_run

# After training: before it, all clients prune the one model they received, and alike.
PRUNES = ("method.pruning=always", "pruning.first_round=1", "pruning.when=after_training")
# Fast enough learning that models, masks and personal parts make a difference to the scores.
FAST = "training.learning_rate=0.003"
FINAL = ("training.final_epochs=1", "training.final_warmup=0", "training.final_factor=1")
KEYS = ("rank1", "rank5", "rank10", "map", "minp")


@pytest.fixture
def evaluate(typed):
    """`evaluate(RUN, "--across", ...)`: exit status, what is printed, and the fault."""
    return partial(typed, "evaluate")


@pytest.fixture
def scores(evaluate):
    """`scores(RUN, ...)`: what --json says, by name."""

    def read(*words):
        status, out, err = evaluate(*words, "--json")
        assert status == 0, err
        return {found["name"]: found for found in json.loads(out)}

    return read


@pytest.fixture
def refusal(evaluate):
    """`refusal(RUN, ...)`: the one sentence a fault is told in."""

    def read(*words):
        status, out, err = evaluate(*words)
        assert (status, out) == (1, ""), out
        assert err.startswith("fedklpr: ")
        assert err.count("\n") == 1
        return err

    return read


@pytest.fixture(scope="module")
def pruned(federate_in, tmp_path_factory):
    """Three clients with three masks."""
    folder = tmp_path_factory.mktemp("pruned") / "run"
    return federate_in(folder, *PRUNES, FAST)


@pytest.fixture
def copy(pruned, tmp_path):
    """A copy of that run to spoil; its memory is in it."""
    shutil.copytree(pruned.folder, tmp_path / "run")
    return tmp_path / "run"


def assert_equal_to_the_last_rows(run, found):
    last = max(row.round for row in run.rows)
    for row in run.rows:
        if row.round == last and row.client:
            told = [found[row.client][key] for key in KEYS]
            assert told == [getattr(row, key) for key in KEYS], row.client


# ---------------------------------------------------------------------------- the run's own scores


@pytest.mark.slow
def test_each_site_is_searched_with_its_own_model_as_the_run_did(pruned, scores):
    found = scores(pruned.folder)
    assert list(found) == list(NAMES)
    assert_equal_to_the_last_rows(pruned, found)


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        ("personal.batchnorm=reestimate", *PRUNES),
        ("method=feducc",),
        ("method=local_only",),
        pytest.param(("method=fedprox",), marks=SLOW),
        pytest.param(("method=fedureid", "labels.source=bottom_up"), marks=SLOW),
        pytest.param(("method=fedpav",), marks=SLOW),
        pytest.param(("method.personal_parts=batchnorm", *PRUNES), marks=SLOW),
    ],
    ids=lambda how: how[0].partition("=")[2],
)
def test_whatever_makes_a_model_personal_its_scores_are_those_of_the_run(how, federate, scores):
    run = federate(*how, FAST, names=PAIR)
    assert_equal_to_the_last_rows(run, scores(run.folder))


@pytest.mark.slow
def test_a_clients_own_model_has_the_rounding_of_a_wire_that_loses_bits(federate):
    """The step of int8 is 1/127 of the channel's largest weight that the client's mask keeps."""
    run = federate("wire.values=int8", *PRUNES, "federation.rounds=1", names=PAIR)
    opened, name = open_run(run.folder), "backbone.layer3.conv1.weight"
    sent, known = opened.state.sent[name], opened.state.clients["ash"]
    folder = MemoryFolder(run.folder / "memory", opened.state.run, "ash")
    memory = folder.read(1)
    small = torch.from_numpy(np.abs(sent) < 0.6 * np.abs(sent).max(axis=(1, 2, 3), keepdims=True))
    masks = {**memory.masks, name: memory.masks[name] & small}
    folder.write(replace(memory, masks=masks), keep=1)
    known.mask_hash = mask_hash(masks)
    own = opened.personal("ash", None).state_dict()[name].double().flatten(1)
    steps = own / own.abs().amax(dim=1, keepdim=True) * 127
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    plain = torch.from_numpy(sent).double().flatten(1) * masks[name].flatten(1)
    assert not torch.equal(own, plain)


def test_joined_sites_are_told_one_by_one_and_then_together(federate, scores):
    run = federate("method=centralised", "federation.rounds=1", names=PAIR)
    found = scores(run.folder)
    assert list(found) == [*PAIR, "joined"]
    assert_equal_to_the_last_rows(run, found)
    assert found["joined"]["map"] == (found["ash"]["map"] + found["birch"]["map"]) / 2


@pytest.mark.slow
def test_with_final_training_each_client_has_two_models_and_two_scores(federate, scores, refusal):
    run = federate(*FINAL, FAST, names=PAIR)
    assert_equal_to_the_last_rows(run, scores(run.folder))
    found = scores(run.folder, "--final")
    for name in PAIR:
        told = (found[name]["rank1"], found[name]["map"])
        assert told == (run.row(2, name).rank1_final, run.row(2, name).map_final)
        assert told[1] != run.row(2, name).map, "this test could not fail"
    (memory_folder(run.folder / "memory", "ash") / "final.safetensors").unlink()
    assert "final model of client ash after round 2" in refusal(run.folder, "--final")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "said"),
    [("train", "merged 1 of 2 rounds"), ("evaluate", "model of client ash after round 2")],
)
def test_final_models_of_an_earlier_end_are_not_taken_for_those_of_the_last(
    phase, said, federate, refusal, tmp_path
):
    def stop(message, context, app):
        raise KeyboardInterrupt

    federate(*FINAL, "federation.rounds=1", names=PAIR)
    with pytest.raises(KeyboardInterrupt):
        federate(*FINAL, app=interfering(stop, round=2, phase=phase), names=PAIR)
    assert said in refusal(tmp_path / "run", "--final")


def test_one_client_is_searched_alone(pruned, scores, refusal):
    (found,) = scores(pruned.folder, "--client", "birch").values()
    assert found == scores(pruned.folder)["birch"]
    assert "--client oak" in (said := refusal(pruned.folder, "--client", "oak"))
    assert "ash, birch, cedar" in said


def test_the_merged_model_is_zero_where_no_clients_mask_keeps_anything(pruned):
    """One meaning for all who look at it: here the values, in test_export.py the exported file."""
    run = open_run(pruned.folder)
    state, held = float_state(run.merged()), run.held_masks()
    nobodys = 0
    for name, tensor in run.state.tensors.items():
        whole = torch.from_numpy(tensor)
        mask = held.get(name, torch.ones_like(whole, dtype=torch.bool))
        assert torch.equal(state[name], torch.where(mask, whole, 0.0))
        nobodys += int(whole[~mask].ne(0).sum())
    assert nobodys, "this test could not fail"


@pytest.mark.slow
def test_the_merged_model_is_searched_with_at_every_site(pruned, scores, tiny_settings, tmp_path):
    found, network = scores(pruned.folder, "--global"), open_run(pruned.folder).merged()
    for identity in tiny_settings().data.clients:
        (told,) = evaluate_site(network, open_site(identity, tiny_settings(), tmp_path))
        assert told.to_dict() == found[identity.name]
    own = scores(pruned.folder)
    assert any(found[name] != own[name] for name in NAMES), "masks change nothing"


def test_a_merged_model_with_nan_is_refused_and_not_perfect(copy, refusal):
    run = copy
    file = run / "global.safetensors"
    tensors = load_file(file)
    tensors["backbone.conv1.weight"][0] = np.nan
    save_file(tensors, file, metadata={"round": "2"})
    assert "infinite or no numbers: the model is broken" in refusal(run, "--global")


@pytest.mark.slow
def test_an_untrained_run_is_scored_as_its_round_zero(federate, evaluate, scores):
    def stop(message, context, app):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federate(app=interfering(stop, round=1), names=PAIR, folder="begun")
    whole = federate("federation.rounds=1", names=PAIR)
    begun = whole.folder.parent / "begun"
    assert "round 0, nothing trained yet" in evaluate(begun)[1]
    found = scores(begun)
    assert [found[n]["map"] for n in PAIR] == [whole.row(0, n).map for n in PAIR]


# ---------------------------------------------------------------------------- across the sites


@pytest.mark.slow
def test_across_each_site_looks_at_all_galleries_with_its_own_model(pruned, scores, tiny_settings):
    found = scores(pruned.folder, "--across")
    assert list(found) == [f"{name} among all sites" for name in NAMES]
    run, settings = open_run(pruned.folder), tiny_settings()
    opened = {one.name: open_site(one, settings, pruned.folder) for one in settings.data.clients}
    for name in NAMES:
        own = [(run.personal(name, opened[name]), opened[name])]
        (told,) = evaluate_across(own, list(opened.values()))
        assert told.to_dict() == found[f"{name} among all sites"]
    (one,) = scores(pruned.folder, "--across", "--client", "birch").values()
    assert one == found["birch among all sites"]
    merged = scores(pruned.folder, "--across", "--global")
    assert merged != found


def test_people_of_other_sites_only_distract(pruned, tiny_settings, tmp_path):
    settings, network = tiny_settings(), open_run(pruned.folder).merged()
    sites = [open_site(one, settings, tmp_path) for one in settings.data.clients]
    for site in sites:
        (alone,) = evaluate_site(network, site)
        (among,) = evaluate_across([(network, site)], sites)
        (itself,) = evaluate_across([(network, site)], [site])
        assert itself.scores == alone.scores
        assert among.scores.map <= alone.scores.map
        assert among.scores.queries == alone.scores.queries


# ---------------------------------------------------------------------------- on another set


@pytest.fixture
def elsewhere(tmp_path):
    """A site that took no part: persons 300 to 305 train, 350 to 355 are searched for."""
    write_pictures(tmp_path / "new" / "train", range(300, 306), 2, 1)
    write_pictures(tmp_path / "new" / "query", range(350, 356), 1, 2)
    write_pictures(tmp_path / "new" / "gallery", range(350, 356), 2, 3)
    return tmp_path / "new"


def on(folder):
    return ("--data", "folder", "--root", folder)


def test_a_site_that_took_no_part_is_searched_with_the_merged_model(pruned, scores, elsewhere):
    run = open_run(pruned.folder)
    identity = Client(name="folder", reader="folder", folder=str(elsewhere))
    site, network = open_site(identity, run.settings, elsewhere), run.merged()
    (plain,) = evaluate_site(network, site)
    assert scores(pruned.folder, *on(elsewhere))["folder"] == plain.to_dict()
    reestimate_on(network, site)
    (anew,) = evaluate_site(network, site)
    assert scores(pruned.folder, *on(elsewhere), "--reestimate")["folder"] == anew.to_dict()
    (ashs,) = evaluate_site(run.personal("ash", site), site)
    assert scores(pruned.folder, *on(elsewhere), "--client", "ash")["folder"] == ashs.to_dict()
    assert len({plain.scores.map, anew.scores.map, ashs.scores.map}) == 3


def test_batch_norm_cannot_be_re_estimated_without_training_pictures(pruned, refusal, elsewhere):
    shutil.rmtree(elsewhere / "train")
    assert "none" in refusal(pruned.folder, *on(elsewhere), "--reestimate")


def test_a_single_shot_set_is_the_mean_over_the_splits_of_its_protocol(pruned, scores, tmp_path):
    viper = tmp_path / "viper"
    for camera in (0, 1):
        (viper / f"cam_{'ab'[camera]}").mkdir(parents=True)
    people = tmp_path / "people"
    write_pictures(people, range(8), 1, 5)
    for person in range(8):
        for camera in (0, 1):
            picture = people / f"p{person}" / f"c{camera}_0.png"
            shutil.copy(picture, viper / f"cam_{'ab'[camera]}" / f"{person:03d}_0.png")
    words = ("--data", "viper", "--root", viper)
    (ten,) = scores(pruned.folder, *words).values()
    assert (ten["name"], ten["queries"]) == ("viper, mean of 10 splits", 10 * 4)
    (two,) = scores(pruned.folder, *words, "--splits", 2).values()
    (one,) = scores(pruned.folder, *words, "--splits", 1).values()
    assert (two["queries"], one["queries"], one["name"]) == (8, 4, "viper")
    assert 0 <= two["map"] <= 1


# ---------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--root", "."], "--root"),
        (["--splits", "2"], "--splits"),
        (["--reestimate"], "--reestimate"),
        (["--across", "--data", "viper", "--root", "."], "--across"),
        (["--global", "--data", "viper", "--root", "."], "--global"),
        (["--final", "--data", "viper", "--root", "."], "--client"),
        (["--final", "--global"], "choose"),
        (["--splits", "0", "--data", "viper", "--root", "."], "--splits 0"),
        (["--splits", "-3", "--data", "viper", "--root", "."], "--splits -3"),
        (["--data", "viper"], "--root"),
        (["--data", "oak", "--root", "."], "'oak'"),
        (["--final"], "training.final_epochs=null"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_sentence(words, said, pruned, refusal):
    assert said in refusal(pruned.folder, *words)


def test_splits_of_a_set_that_brings_its_own_are_refused(pruned, refusal, elsewhere):
    assert "its one split" in refusal(pruned.folder, *on(elsewhere), "--splits", 3)


# ---------------------------------------------------------------------------- what is not to be had


def test_masks_alone_are_enough_where_a_client_has_nothing_else_of_its_own(pruned, copy, scores):
    shutil.rmtree(copy / "memory")
    assert_equal_to_the_last_rows(pruned, scores(copy))


@pytest.mark.parametrize("method", ["local_only", "fedureid"])
def test_a_personal_model_whose_parts_are_elsewhere_is_an_error(method, federate, refusal):
    own_labels = "labels.source=identities"
    run = federate(f"method={method}", own_labels, "federation.rounds=1", names=PAIR)
    shutil.rmtree(run.folder / "memory")
    said = refusal(run.folder)
    assert "client ash" in said
    assert f"{run.folder}/memory" in said
    if method == "local_only":
        said = refusal(run.folder, "--global")
        assert "method.personal_parts=all" in said


def test_a_memory_of_another_run_is_not_taken_for_this_ones(copy, refusal):
    folder = memory_folder(copy / "memory", "ash")
    other = memory_folder(copy / "memory", "birch")
    shutil.copy(other / "round-0002.safetensors", folder / "round-0002.safetensors")
    assert "client ash's mask of round 2" in refusal(copy)


@pytest.mark.slow
def test_a_site_without_queries_has_no_scores_and_the_others_have_theirs(
    federate, evaluate, scores
):
    run = federate("federation.rounds=1", names=("birch", "blank"))
    found = scores(run.folder)
    assert_equal_to_the_last_rows(run, found)
    assert found["blank"] == {
        "name": "blank", "left_out": 0, "queries": None, **dict.fromkeys(KEYS)
    }  # fmt: skip
    assert "-" in evaluate(run.folder)[1].splitlines()[-1]
    assert "blank among all sites" in scores(run.folder, "--across")


def test_where_nobody_can_be_searched_for_that_is_said(federate, refusal):
    run = federate("federation.rounds=1", "federation.min_clients=1", names=["blank"])
    assert "nothing can be ranked" in refusal(run.folder)
    assert "nothing can be ranked" in refusal(run.folder, "--across")


def test_queries_whose_persons_the_gallery_lacks_are_left_out_and_counted(
    pruned, evaluate, scores, elsewhere
):
    whole = scores(pruned.folder, *on(elsewhere))["folder"]
    assert (whole["queries"], whole["left_out"]) == (12, 0)
    shutil.rmtree(elsewhere / "gallery" / "p350")
    shutil.rmtree(elsewhere / "gallery" / "p351")
    found = scores(pruned.folder, *on(elsewhere))["folder"]
    assert (found["queries"], found["left_out"]) == (8, 4)
    assert "4 queries left out" in evaluate(pruned.folder, *on(elsewhere))[1]
    for person in range(352, 356):
        shutil.rmtree(elsewhere / "gallery" / f"p{person}")
    write_pictures(elsewhere / "gallery", range(360, 362), 1, 4)
    assert "nothing can be ranked" in evaluate(pruned.folder, *on(elsewhere))[2]


# ---------------------------------------------------------------------------- spoilt run folders


def test_a_folder_without_a_run_is_said_to_have_none(refusal, tmp_path):
    assert "holds no run" in refusal(tmp_path)
    assert "holds no run" in refusal(tmp_path / "nowhere")


def test_a_half_written_line_of_rows_changes_no_score(pruned, copy, scores):
    with (copy / "run.jsonl").open("a") as file:
        file.write('{"round": 3, "cli')
    assert scores(copy) == scores(pruned.folder)


@pytest.mark.parametrize("victim", ["config.yaml", "state.json"])
def test_a_run_of_another_version_is_refused(victim, copy, refusal):
    file = copy / victim
    if victim == "state.json":
        file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))
    else:
        file.write_text(file.read_text() + "\nof_the_future: 1\n")
    said = refusal(copy)
    assert "version" in said
    assert str(copy) in said


@pytest.mark.parametrize("damage", ["another shape", "a name less", "cut"])
def test_a_model_that_does_not_fit_its_settings_is_refused(damage, copy, refusal):
    path = copy / "global.safetensors"
    tensors = load_file(path)
    if damage == "another shape":
        tensors["neck.weight"] = tensors["neck.weight"][:7].copy()
        save_file(tensors, path)
    elif damage == "a name less":
        del tensors["neck.weight"]
        save_file(tensors, path)
    else:
        path.write_bytes(path.read_bytes()[:100])
    said = refusal(copy)
    assert ("global.safetensors" in said) or ("holds no run" in said)
    if damage != "cut":
        assert "'neck.weight'" in said


def test_a_round_whose_merge_was_killed_half_way_is_read_and_not_committed(copy, pruned, scores):
    (copy / "global.safetensors").rename(copy / "global.safetensors.next")
    (copy / "commit.json").write_text(json.dumps(["global.safetensors"]))
    assert scores(copy) == scores(pruned.folder)
    assert (copy / "commit.json").exists()
    assert (copy / "global.safetensors.next").exists()


def test_evaluation_leaves_a_run_folder_as_it_is(copy, scores):
    def listing():
        return {p: p.stat().st_mtime_ns for p in copy.rglob("*") if p.is_file()}

    before = listing()
    scores(copy)
    scores(copy, "--across")
    assert listing() == before

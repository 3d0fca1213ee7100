"""Claims about `fedklpr evaluate` beyond a run's own scores: any model, flip test, re-ranking."""

import json
from dataclasses import asdict

import pytest
import torch
from measuring_set import write_measuring_set
from safetensors.torch import load_file
from tiny_federation import PAIR, PRUNES, write_pictures

from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.model.evaluation import How, evaluate_across, evaluate_site
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.site import Pictures, open_site
from fedklpr_flwr.reid.network import build_network
from fedklpr_flwr.reid.ranking import score_ranking
from fedklpr_flwr.reid.reranking import score_reranked
from fedklpr_flwr.runs.trained_models import open_run


@pytest.fixture(scope="module")
def run(federate_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("how") / "run"
    words = ("federation.rounds=1", "pruning.when=after_training", *PRUNES)
    return federate_in(folder, *words, names=PAIR).folder


@pytest.fixture
def scores(typed):
    def read(*words):
        status, out, err = typed("evaluate", *words, "--json")
        assert status == 0, err
        return json.loads(out)

    return read


@pytest.fixture
def elsewhere(tmp_path):
    write_pictures(tmp_path / "new" / "train", range(300, 304), 2, 1)
    write_pictures(tmp_path / "new" / "query", range(350, 358), 1, 2)
    write_pictures(tmp_path / "new" / "gallery", range(350, 358), 2, 3)
    return tmp_path / "new"


def on(folder):
    return ("--data", "folder", "--root", folder)


def mirrored_mean(network, pictures):
    """Picture by picture: the mean of both features, of unit length."""
    rows = []
    for pixels in pictures.pixels:
        both = torch.stack([pixels, pixels.flip(2)])
        two = features_of(network, Pictures(both, *[torch.zeros(2, dtype=torch.int64)] * 2))
        mean = two.mean(dim=0)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


@pytest.mark.slow
def test_a_flip_test_searches_with_the_mean_of_both_views(run, scores, elsewhere):
    opened = open_run(run)
    site = open_site(
        Client(name="folder", reader="folder", folder=str(elsewhere)), opened.settings, elsewhere
    )
    network = opened.merged()
    query, gallery = (mirrored_mean(network, part) for part in (site.query, site.gallery))
    wanted = score_ranking(
        query, site.query.persons, site.query.cameras,
        gallery, site.gallery.persons, site.gallery.cameras,
    )  # fmt: skip
    (found,) = scores(run, *on(elsewhere), "--flip")
    assert found == {"name": "folder", **asdict(wanted), "left_out": 0, "flip": True}
    assert found["map"] != scores(run, *on(elsewhere))[0]["map"], "this test could not fail"


def test_re_ranking_scores_the_re_ranked_list(run, scores, typed, elsewhere):
    opened = open_run(run)
    site = open_site(
        Client(name="folder", reader="folder", folder=str(elsewhere)), opened.settings, elsewhere
    )
    network = opened.merged()
    wanted = score_reranked(
        features_of(network, site.query), site.query.persons, site.query.cameras,
        features_of(network, site.gallery), site.gallery.persons, site.gallery.cameras,
    )  # fmt: skip
    (found,) = scores(run, *on(elsewhere), "--rerank")
    assert found == {"name": "folder", **asdict(wanted), "left_out": 0, "rerank": True}
    assert found["map"] != scores(run, *on(elsewhere))[0]["map"], "this test could not fail"
    assert (
        "the merged model, flip test, re-ranked"
        in typed("evaluate", run, *on(elsewhere), "--rerank", "--flip")[1]
    )


def test_own_sites_and_all_together_are_searched_in_the_same_manner(run, scores):
    opened, how = open_run(run), How(flip=True, rerank=True)
    sites = [open_site(one, opened.settings, run) for one in opened.settings.data.clients]
    ash = (opened.personal("ash", sites[0]), sites[0])
    words = (run, "--client", "ash", "--flip", "--rerank")
    (own,), (among,) = scores(*words), scores(*words, "--across")
    extra = {"flip": True, "rerank": True}
    assert own == evaluate_site(*ash, how)[0].to_dict() | extra
    assert among == evaluate_across([ash], sites, how)[0].to_dict() | extra
    assert own["map"] != among["map"]


@pytest.mark.slow
def test_any_file_of_a_model_is_scored_as_the_run_is(run, scores, typed, elsewhere, tmp_path):
    (wanted,) = scores(run, *on(elsewhere))
    assert scores(run / "global.safetensors", *on(elsewhere)) == [wanted]
    (ashs,) = scores(run, "--client", "ash", *on(elsewhere))
    file = tmp_path / "ash.safetensors"
    words = ("--format", "safetensors", "--client", "ash", "--out", file)
    assert typed("export", run, *words)[0] == 0
    assert scores(file, *on(elsewhere)) == [ashs]
    assert ashs != wanted


@pytest.mark.slow
def test_a_file_that_says_nothing_is_scored_as_usual_and_that_is_said(
    run, typed, elsewhere, tmp_path
):
    torch.save(load_file(run / "global.safetensors"), tmp_path / "bare.pth")
    status, out, err = typed("evaluate", tmp_path / "bare.pth", *on(elsewhere), "--reestimate")
    assert status == 0, err
    assert "taken as 64 x 32" in err
    assert "Rank-1  Rank-5 Rank-10     mAP    mINP" in out
    status, _, err = typed("evaluate", tmp_path / "bare.pth", *on(elsewhere), "--height", 128)
    assert status == 0, err
    assert "taken as 128 x 64, by --height" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say by --data what it searches"),
        (("--client", "ash"), "--client chooses among a run's models"),
        (("--global",), "--global chooses"),
    ],
)
def test_words_about_a_run_are_refused_for_a_file(words, said, run, typed):
    status, out, err = typed("evaluate", run / "global.safetensors", *words)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert said in err


def test_rank1_by_camera_stands_beside_the_protocols_scores_and_changes_none(run, scores):
    plain, beside = scores(run), scores(run, "--camera-norm")
    for before, after in zip(plain, beside, strict=True):
        assert 0 <= after.pop("rank1_camera") <= 1
        assert after.pop("camera_norm") is True
        assert after == before


def test_rank1_by_camera_is_that_of_features_normalised_by_the_gallerys_cameras(run, tiny_settings):
    trained = open_run(run)
    client = trained.settings.data.clients[0]
    site = open_site(client, trained.settings, run)
    network = trained.merged()
    query, gallery = features_of(network, site.query), features_of(network, site.gallery)
    looks = {}
    for camera in set(site.gallery.cameras.tolist()):
        own = gallery[site.gallery.cameras == camera]
        own = own if len(own) >= 10 else gallery
        looks[camera] = own.mean(dim=0), own.std(dim=0, correction=0)

    def taken_out(features, cameras):
        rows = []
        for feature, camera in zip(features, cameras.tolist(), strict=True):
            mean, spread = looks[camera]
            moved = (feature - mean) / spread.clamp_min(1e-12)
            rows.append(moved / moved.norm())
        return torch.stack(rows)

    expected = score_ranking(
        taken_out(query, site.query.cameras),
        site.query.persons,
        site.query.cameras,
        taken_out(gallery, site.gallery.cameras),
        site.gallery.persons,
        site.gallery.cameras,
    )
    (found,) = evaluate_site(network, site, How(camera_norm=True))
    assert found.rank1_camera == pytest.approx(expected.rank1)
    across = evaluate_across([(network, site)], [site], How(camera_norm=True))[0]
    assert across.rank1_camera == found.rank1_camera


def test_queries_by_cameras_that_the_gallery_has_not_are_told_beside_the_scores(typed, tmp_path):
    def name(part, person, camera, number):
        return f"{part}/{person}/{'entrance' if part == 'query' else 'door'}{camera}_{number}.png"

    root, file = write_measuring_set(tmp_path / "set", name=name), tmp_path / "small.pth"
    torch.save(build_network("small", weights=None, generator_seed=0).state_dict(), file)
    status, out, err = typed("evaluate", file, *on(root))
    assert (status, "Rank-1" in out) == (0, True)
    assert (
        "folder: in doubt: expected queries by cameras of the gallery (door0, door1, door2)" in err
    )

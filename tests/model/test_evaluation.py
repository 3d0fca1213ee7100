"""Claims about fedklpr_flwr.model.evaluation: what is searched among what, and left out."""

from dataclasses import replace

import pytest
import torch
from wiretap import PAIR

from fedklpr_flwr.errors import DataError
from fedklpr_flwr.model.evaluation import evaluate_across, evaluate_site, evaluate_splits
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import join_sites

FAST = "training.learning_rate=0.003"


@pytest.fixture(scope="module")
def network(tiny_settings):
    return initial_network(tiny_settings(), pretrained=False)


def with_gallery_of(site, persons):
    kept = torch.isin(site.gallery.persons, torch.tensor(persons))
    return replace(site, gallery=site.gallery.subset(kept.nonzero().flatten()))


def without_query(site):
    return replace(site, query=site.query.subset(torch.tensor([], dtype=torch.int64)))


def test_a_query_whose_person_the_gallery_lacks_is_left_out_of_the_mean(network, tiny_site):
    (whole,) = evaluate_site(network, tiny_site)
    assert (whole.scores.queries, whole.left_out) == (8, 0)
    (fewer,) = evaluate_site(network, with_gallery_of(tiny_site, [50, 51]))
    assert (fewer.scores.queries, fewer.left_out) == (4, 4)
    (nobody,) = evaluate_site(network, with_gallery_of(tiny_site, [999]))
    assert (nobody.scores, nobody.left_out) == (None, 8)


def test_a_site_without_a_query_or_a_gallery_has_no_scores(network, tiny_site):
    for site in (without_query(tiny_site), with_gallery_of(tiny_site, [])):
        (found,) = evaluate_site(network, site)
        assert found.scores is None
        assert found.to_dict()["map"] is None
        (found,) = evaluate_across([(network, site)], [site])
        assert found.scores is None


def test_joined_sites_are_told_one_by_one_and_then_as_their_mean(network, tiny_site):
    other = replace(with_gallery_of(tiny_site, [50, 51]), name="other")
    one, two, mean = evaluate_site(network, join_sites("both", [tiny_site, other]))
    assert (one.name, two.name, mean.name) == ("tiny", "other", "both")
    assert mean.scores.map == (one.scores.map + two.scores.map) / 2
    assert (mean.scores.queries, mean.left_out) == (12, 4)


def test_splits_count_the_same_however_many_queries_they_have(network, tiny_site):
    sites = [tiny_site, with_gallery_of(tiny_site, [50])]
    mean = evaluate_splits(network, sites.__getitem__, 2)
    one, two = (found for site in sites for found in evaluate_site(network, site))
    assert mean.scores.rank1 == (one.scores.rank1 + two.scores.rank1) / 2
    assert (mean.scores.queries, mean.left_out) == (8 + 2, 6)
    assert mean.name == "tiny, mean of 2 splits"


def test_a_split_without_anybody_to_find_is_named(network, tiny_site):
    sites = [tiny_site, without_query(tiny_site)]
    with pytest.raises(DataError, match=r"split 1 of tiny.*nothing can be ranked"):
        evaluate_splits(network, sites.__getitem__, 2)


def test_a_site_among_others_meets_their_people_as_strangers(network, tiny_site):
    """The other site holds the very same pictures, under the same numbers."""
    twin = replace(tiny_site, name="twin")
    (alone,) = evaluate_across([(network, tiny_site)], [tiny_site])
    (among,) = evaluate_across([(network, tiny_site)], [tiny_site, twin])
    assert alone.scores == evaluate_site(network, tiny_site)[0].scores
    assert among.scores.map < alone.scores.map


@pytest.mark.slow
def test_round_zero_scores_what_was_received_and_later_rounds_with_batch_norm_of_their_own(
    federate,
):
    received = federate("personal.batchnorm=received", FAST, folder="received", names=PAIR)
    anew = federate("personal.batchnorm=reestimate", FAST, folder="anew", names=PAIR)
    for name in PAIR:
        assert anew.row(0, name).map == received.row(0, name).map
        assert anew.row(0, name).minp == received.row(0, name).minp
    for number in (1, 2):
        scores = [(run.row(number, n).map) for run in (received, anew) for n in PAIR]
        assert scores[:2] != scores[2:]


@pytest.mark.slow
def test_clusters_are_held_against_the_truth_where_it_is_known(federate):
    found = ("labels.source=clusters", "labels.min_samples=2", "labels.k1=6", "labels.k2=2")
    run = federate(*found, "federation.rounds=1", names=(*PAIR, "blank"))
    for name in PAIR:
        row = run.row(1, name)
        assert 0 < row.cluster_precision <= 1
        assert 0 < row.cluster_recall <= 1
        assert 0 <= row.camera_split <= 1
    blank, mean = run.row(1, "blank"), run.row(1, None)
    assert (blank.cluster_precision, blank.cluster_recall, blank.camera_split) == (None,) * 3
    assert mean.cluster_recall == sum(run.row(1, name).cluster_recall for name in PAIR) / 2
    named = federate("federation.rounds=1", folder="named", names=PAIR).row(1, "ash")
    assert (named.cluster_precision, named.cluster_recall, named.camera_split) == (1, 1, 0)

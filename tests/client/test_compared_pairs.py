"""Claims about client.compared_pairs: two models judged by the same pictures and labels."""

import torch

from fedklpr_flwr.algorithm.recovery_evidence import Pairs
from fedklpr_flwr.client.compared_pairs import compared_pairs, remembered_features
from fedklpr_flwr.reid.network import build_network


def test_neither_the_earlier_nor_the_later_model_is_favoured(tiny_site):
    """Who was compared with whom changes signs only, where labels go with their models."""
    earlier, later = (build_network("small", weights=None, generator_seed=n) for n in (0, 1))
    was, now = (remembered_features(network, tiny_site) for network in (earlier, later))
    generator = torch.Generator().manual_seed(0)
    by_earlier, by_later = torch.randint(3, (2, 20), generator=generator)
    forwards = compared_pairs(later, tiny_site, was, by_earlier, by_later)
    backwards = compared_pairs(earlier, tiny_site, now, by_later, by_earlier)
    assert (forwards.worse, forwards.better) == (backwards.better, backwards.worse)
    assert forwards.discordant > 0
    own = compared_pairs(later, tiny_site, was, by_later)
    other = compared_pairs(later, tiny_site, was, by_earlier)
    assert forwards.worse == (own.worse + other.worse) // 2
    assert forwards.compared == (own.compared + other.compared) // 2


def test_the_same_labels_twice_count_once(tiny_site):
    network = build_network("small", weights=None, generator_seed=0)
    persons, was = tiny_site.train.persons, torch.eye(20, 128).half()
    once = compared_pairs(network, tiny_site, was, persons)
    assert once.compared == 20
    assert compared_pairs(network, tiny_site, was, persons, persons) == once
    assert compared_pairs(network, tiny_site, was, None, persons) == once


def test_nobody_can_say_without_labels_or_of_other_pictures(tiny_site):
    network = build_network("small", weights=None, generator_seed=0)
    was, labels = torch.eye(20, 128).half(), torch.zeros(20, dtype=torch.int64)
    assert compared_pairs(network, tiny_site, None, labels) is None
    assert compared_pairs(network, tiny_site, was) is None
    assert compared_pairs(network, tiny_site, was, None, None) is None
    assert compared_pairs(network, tiny_site, was, labels[:19]) is None
    assert compared_pairs(network, tiny_site, was[:19], labels) is None
    assert compared_pairs(network, tiny_site, was, labels - 1) == Pairs()

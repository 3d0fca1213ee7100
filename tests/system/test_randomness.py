"""Claims about fedklpr_flwr.system.randomness: named generators from one seed."""

import torch

from fedklpr_flwr.system.randomness import derived_seed, named_generator


def test_the_same_names_give_the_same_numbers_on_every_machine():
    # Frozen: a change here changes every published result.
    assert derived_seed(0, "campus", 3, 1) == 7686567848134428230
    assert 0 <= derived_seed(2**70, "x") < 2**63


def test_every_name_counts_and_where_it_stands():
    seeds = {
        derived_seed(0, "a", 1),
        derived_seed(1, "a", 1),
        derived_seed(0, "b", 1),
        derived_seed(0, "a", 2),
        derived_seed(0, "a", 1, 1),
        derived_seed(0, "a1"),
        derived_seed(0, 1, "a"),
    }
    assert len(seeds) == 7


def test_the_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    torch.rand(3, generator=named_generator(0, "a"))
    assert torch.equal(torch.random.get_rng_state(), before)

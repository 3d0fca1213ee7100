"""Claims about the ideal schedule: what pruning saves where no prune is ever held."""

import pytest

from fedklpr_flwr.planning.ideal_schedule import ideal_densities, ideal_saving


def test_the_density_falls_by_the_rate_from_the_first_round_down_to_the_target():
    found = ideal_densities(4, rate=0.1, target=0.15, first_round=2)
    assert found == pytest.approx([1.0, 1.0, 0.9, 0.85, 0.85])


def test_the_paper_schedule_saves_what_its_count_was_published_with():
    """algorithm 3: rate 10 %, target 50 %, first prune in round 2; up and down together."""
    published = {8: 0.254, 10: 0.303, 12: 0.336, 20: 0.402}
    for rounds, saving in published.items():
        densities = ideal_densities(rounds, rate=0.1, target=0.5, first_round=2)
        assert ideal_saving(densities) == pytest.approx(saving, abs=5e-4)


def test_a_schedule_that_never_begins_saves_nothing():
    assert ideal_saving(ideal_densities(3, rate=0.5, target=0.9, first_round=4)) == 0

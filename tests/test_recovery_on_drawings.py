"""Claims about CRR's own accuracy on drawn people: it moves, and a damaging prune makes it hold."""

import pytest
from tiny_federation import Finished

from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.launch.prepare import prepare

pytestmark = pytest.mark.slow

BEFORE, AFTER = 3, 4  # the rounds on both sides of the first prune


def test_a_prune_of_nine_tenths_makes_recovery_hold_where_the_accuracy_fell(tmp_path):
    words = (
        "experiment=smoke",
        "federation.rounds=5",
        "training.epochs=2",
        "training.max_batches=8",
        "pruning.first_round=4",
        "pruning.rate=0.9",
        "pruning.target=0.95",
        f"run.dir={tmp_path / 'run'}",
    )
    prepared = prepare(words)
    assert prepared.settings.crr.accuracy == "training", "the reading that ships"
    simulate_prepared(prepared)
    run = Finished(prepared.folder)
    sites = [client.name for client in prepared.settings.data.clients]
    accuracy = {
        (number, site): run.row(number, site).accuracy for number in range(1, 6) for site in sites
    }
    assert len(set(accuracy.values())) > 10, "the accuracy stands still"
    pruned = [site for site in sites if run.row(AFTER, site).crr == "pruned"]
    fell = [
        site
        for site in pruned
        if accuracy[AFTER, site] < accuracy[BEFORE, site] - prepared.settings.crr.drop
    ]
    assert fell, "nine tenths of the weights went and no client felt it"
    for site in pruned:
        word = run.row(AFTER + 1, site).crr
        assert (word == "held_drop") == (site in fell), (site, word)
        if site in fell:
            assert run.row(AFTER + 1, site).pruned == run.row(AFTER, site).pruned

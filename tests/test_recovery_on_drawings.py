"""Claims about CRR on drawn people: its accuracy moves, and what it decides follows from it alone.

Who prunes in which round hangs on the last bits of a convolution, which differ between processors:
so no round is named, and each decision is held against the accuracies that its own run reports.
"""

import pytest
from tiny_federation import Finished

from fedklpr_flwr.commands.simulate import simulate_prepared
from fedklpr_flwr.launch.prepare import prepare

pytestmark = pytest.mark.slow

FIRST, LAST = 3, 7
# A ratio that is short of the target by less than this is at it: the last step stops on a whole
# weight (algorithm/recovery.py, outside_window).
A_WHOLE_WEIGHT = 1e-5


def test_every_decision_follows_from_the_accuracies_a_client_reports(tmp_path):
    words = (
        "experiment=smoke",
        f"federation.rounds={LAST}",
        "training.epochs=2",
        "training.max_batches=8",
        f"pruning.first_round={FIRST}",
        "pruning.rate=0.9",
        "pruning.target=0.95",
        *("crr.level=0", "crr.test=threshold"),
        f"run.dir={tmp_path / 'run'}",
    )
    prepared = prepare(words)
    chosen, target = prepared.settings.crr, prepared.settings.pruning.target
    assert (chosen.accuracy, chosen.reference) == ("training", "before_last_prune"), "as it ships"
    simulate_prepared(prepared)
    run = Finished(prepared.folder)
    accuracies, words_said = set(), set()
    for site in (client.name for client in prepared.settings.data.clients):
        before_last_prune = None
        for number in range(FIRST, LAST + 1):
            row, earlier = run.row(number, site), run.row(number - 1, site)
            reference = before_last_prune
            if reference is None:
                reference = run.row(number - 2, site).accuracy
            fell = earlier.accuracy < reference - chosen.drop - 1e-9
            if earlier.pruned >= target - A_WHOLE_WEIGHT:
                assert row.crr == "at_target", (site, number)
            else:
                assert row.crr == ("held_drop" if fell else "pruned"), (site, number)
            if row.crr == "pruned":
                before_last_prune = earlier.accuracy
                assert row.pruned > earlier.pruned, (site, number)
            else:
                assert row.pruned == earlier.pruned, (site, number)
            accuracies.add(row.accuracy)
            words_said.add(row.crr)
    assert len(accuracies) > 10, "the accuracy stands still"
    assert {"pruned", "held_drop"} <= words_said, "the rule never prunes, or never holds"

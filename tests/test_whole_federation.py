"""Claims about a whole federation: what a run leaves, who takes part, and that the seed decides."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_federation import (
    ALONE,
    CAMERAS,
    NAMES,
    ONE_ROUND,
    PAIR,
    PERSONS,
    PICTURES,
    PRUNES,
    client_name,
    fails,
    forget,
    interfering,
    pruned_share,
)

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.shared_model import initial_network, shared_layout
from fedklpr_flwr.protocol.flower_messages import read_payload
from fedklpr_flwr.protocol.update_front import FRONT
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.wire.codec import decode_dense

STATUSES = {"merged", "failed", "late", "absent"}


@pytest.fixture
def federate(federate_in, tmp_path):
    """The tiny federation of two clients, if nothing else is said: half the time of three."""
    return lambda *overrides, folder="run", names=PAIR, **how: federate_in(
        tmp_path / folder, *overrides, names=names, **how
    )


# ---------------------------------------------------------------------------- a good run


def test_a_run_leaves_the_files_that_others_rely_on(undisturbed):
    there = {str(path.relative_to(undisturbed.folder)) for path in undisturbed.folder.rglob("*")}
    assert {"config.yaml", "run.jsonl", "report.md", "global.safetensors", "state.json"} <= there
    assert {f"clients/{name}/mask.safetensors" for name in PAIR} <= there
    assert not any(name.endswith(".next") or name == "commit.json" for name in there)
    assert not any(name.startswith("payloads") for name in there), "payloads outlive their round"


def test_every_client_has_exactly_one_status_in_every_round(undisturbed):
    lines = [(row.round, row.client) for row in undisturbed.rows if row.client]
    assert sorted(lines) == [(number, name) for number in range(3) for name in PAIR]
    assert {row.status for row in undisturbed.rows if row.client} <= STATUSES
    assert [row.round for row in undisturbed.rows if row.client is None] == [0, 1, 2]


def test_the_weights_of_a_round_sum_to_one(undisturbed):
    for number in (1, 2):
        rows = [undisturbed.row(number, name) for name in PAIR]
        for key in ("weight", "klaw", "praw"):
            assert sum(getattr(row, key) for row in rows) == pytest.approx(1, abs=1e-12)
            assert all(getattr(row, key) > 0 for row in rows)


def test_round_zero_evaluates_and_trains_nothing(undisturbed):
    for name in PAIR:
        row = undisturbed.row(0, name)
        assert (row.bytes_up, row.clusters, row.pruned, row.weight) == (0, 0, 0.0, 0.0)
        assert row.rank1 is not None
        assert row.accuracy is None


def test_each_round_prunes_its_rate_of_what_is_left(undisturbed):
    for name in PAIR:
        assert undisturbed.row(1, name).pruned == pytest.approx(0.2, abs=1e-3)
        assert undisturbed.row(2, name).pruned == pytest.approx(1 - 0.8**2, abs=1e-3)
        kept = pruned_share(undisturbed, name)
        assert kept == pytest.approx(undisturbed.row(2, name).pruned, abs=1e-12)


def test_a_pruned_client_sends_and_receives_less(undisturbed):
    for name in PAIR:
        first, second = undisturbed.row(1, name), undisturbed.row(2, name)
        assert second.bytes_up < first.bytes_up < undisturbed.row(0, name).bytes_down
        assert second.bytes_down < first.bytes_down < undisturbed.row(0, name).bytes_down
        assert second.bytes_paper < first.bytes_paper < first.bytes_dense


def test_bytes_are_counted_as_they_are_sent(federate):
    sent = {}

    def weigh(message, context, app):
        reply, kind = app(message, context), message.metadata.message_type
        sizes = len(read_payload(message.content)), len(read_payload(reply.content))
        sent[kind, int(message.metadata.group_id), client_name(context)] = sizes
        return reply

    run = federate(ONE_ROUND, app=interfering(weigh, phase=None))
    dense = 4 * sum(array.size for array in load_file(run.folder / "global.safetensors").values())
    for name in PAIR:
        row = run.row(1, name)
        assert sent["train", 1, name] == (0, row.bytes_up), "the model was there already"
        assert sent["evaluate", 1, name] == (row.bytes_down, 0)
        assert row.bytes_dense == row.bytes_paper == 2 * dense, "nothing is pruned yet"
        assert 0 < row.bytes_message_up - row.bytes_up < 20_000
        assert 0 < row.bytes_message_down - row.bytes_down < 20_000
    for key in ("bytes_up", "bytes_down", "bytes_message_up", "bytes_dense", "bytes_paper"):
        total = sum(getattr(run.row(1, name), key) for name in PAIR)
        assert getattr(run.row(1, None), key) == total


# ---------------------------------------------------------------------------- nothing but the seed


def test_two_runs_with_one_seed_are_equal_bit_for_bit(undisturbed, federate):
    again = federate(*PRUNES)
    assert again.model == undisturbed.model
    assert again.figures == undisturbed.figures


class ReversedGrid(InProcessGrid):
    """The last client asked answers first."""

    def pull_messages(self, message_ids):
        return super().pull_messages(reversed(list(message_ids)))


def test_dense_is_the_whole_model_both_ways_whatever_a_method_keeps_at_home(federate):
    """One meaning for every method, so that they can be compared: resends are not dense's."""
    settings = compose_settings("smoke", ("model.height=32", "model.width=16"))
    network = initial_network(settings, pretrained=False)
    model = 4 * sum(tensor.numel() for tensor in float_state(network).values())
    for method in ("local_only", "feducc"):
        broken = interfering(fails, client="birch", round=1)
        run = federate(f"method={method}", ALONE, ONE_ROUND, app=broken, folder=method)
        dense = [[run.row(number, name).bytes_dense for name in PAIR] for number in range(2)]
        assert dense == [[model, model], [2 * model, model]], method
    lost = federate(ONE_ROUND, app=interfering(forget, client="birch", round=1, times=1))
    assert lost.row(1, "birch").bytes_dense == 2 * model
    assert lost.row(1, "birch").bytes_down > lost.row(1, "ash").bytes_down


def test_the_order_of_arrival_changes_nothing(federate):
    """Of three: the sum of two does not depend on their order anyhow."""
    straight = federate(ONE_ROUND, names=NAMES, folder="straight")
    reversed_run = federate(ONE_ROUND, names=NAMES, grid=ReversedGrid, folder="reversed")
    assert reversed_run.model == straight.model
    assert reversed_run.figures == straight.figures


# ---------------------------------------------------------------------------- who takes part


def test_who_is_not_chosen_is_absent_and_evaluated_all_the_same(federate):
    run = federate("federation.fraction=0.5", names=NAMES)
    for number in (1, 2):
        rows = [run.row(number, name) for name in NAMES]
        assert sorted(row.status for row in rows) == ["absent", "merged", "merged"]
        for row in rows:
            assert (row.bytes_up > 0) == (row.weight > 0) == (row.status == "merged")
            assert row.rank1 is not None
            assert row.failed is False


def test_who_is_asked_nothing_in_a_round_is_neither_away_nor_sent_anything(federate):
    words = ("federation.fraction=0.5", "federation.rounds=3", ALONE)
    everybody = federate(*words, names=NAMES, folder="all")
    run = federate(*words, "federation.evaluate=next", names=NAMES, folder="next")
    unasked = [(n, name) for n in range(4) for name in NAMES if run.row(n, name).unasked]
    assert unasked
    for number, name in unasked:
        row = run.row(number, name)
        assert (row.status, row.failed, row.rank1, row.bytes_message_down) == (
            "absent",
            False,
            None,
            0,
        )
    assert not any("absent" in run.row(number, None).status for number in range(4))
    assert all(run.row(3, name).rank1 is not None for name in NAMES), "at last all are asked"
    assert run.model == everybody.model, "who evaluates changes no model"
    sent = [sum(row.bytes_down for row in one.rows if row.client) for one in (run, everybody)]
    assert sent[0] < sent[1]


def test_a_run_starts_with_as_many_clients_as_it_is_told_to_wait_for(federate):
    app = interfering(fails, client="birch", phase="query")
    with pytest.raises(RunError, match="1 of 2 clients came"):
        federate(ONE_ROUND, ALONE, app=app)
    with pytest.raises(RunError, match=r"Here: ash\. Start the SuperNodes of .*resume="):
        federate(ONE_ROUND, ALONE, "deployment=true", app=app, folder="boxes")
    run = federate(ONE_ROUND, ALONE, "federation.start_clients=1", app=app, folder="one")
    assert run.row(1, "ash").status == "merged"
    assert run.row(1, None).status == "1 merged, absent: birch"
    assert [run.row(number, "birch").status for number in (0, 1)] == ["absent", "absent"]


def test_a_site_that_comes_later_starts_with_a_full_mask(federate, undisturbed):
    app = interfering(fails, client="birch", phase="query", times=2)
    run = federate(*PRUNES, ALONE, "federation.start_clients=1", app=app, folder="later")
    assert [run.row(number, "birch").status for number in (0, 1, 2)] == [
        "absent",
        "absent",
        "merged",
    ]
    assert run.row(2, "birch").pruned == pytest.approx(undisturbed.row(1, "birch").pruned)
    assert run.row(2, "ash").pruned == undisturbed.row(2, "ash").pruned


def test_a_client_without_clusters_weighs_nothing_and_changes_nothing(federate, undisturbed):
    run = federate(*PRUNES, names=(*PAIR, "blank"))
    for number in (1, 2):
        row = run.row(number, "blank")
        assert (row.status, row.failed, row.idle) == ("merged", False, True)
        assert (row.weight, row.klaw, row.praw, row.clusters) == (0.0, 0.0, 0.0, 0)
        assert sum(run.row(number, n).weight for n in PAIR) == pytest.approx(1, abs=1e-12)
    assert run.model == undisturbed.model


def test_where_nobody_has_clusters_the_model_stays_as_it_was(federate, tiny_settings):
    run = federate(ONE_ROUND, ALONE, names=["blank"])
    row = run.row(1, "blank")
    assert (row.status, row.idle, row.weight) == ("merged", True, 0.0)
    start = float_state(initial_network(tiny_settings(), pretrained=True))
    tensors = run.state().tensors
    assert all(np.array_equal(tensors[name], start[name].numpy()) for name in tensors)


def test_a_site_without_a_test_set_has_no_scores_and_does_not_spoil_the_mean(federate):
    run = federate(ONE_ROUND, names=("birch", "cedar", "blank"))
    assert (run.row(1, "blank").rank1, run.row(1, "blank").map) == (None, None)
    mean = (run.row(1, "birch").map + run.row(1, "cedar").map) / 2
    assert run.row(1, None).map == pytest.approx(mean)


def test_clusters_label_a_site_without_anybody_saying_who_is_on_it(federate):
    found = ("labels.source=clusters", "labels.min_samples=2", "labels.k1=6", "labels.k2=2")
    run = federate(*found, ONE_ROUND)
    for name in PAIR:
        row = run.row(1, name)
        assert (row.status, row.idle) == ("merged", False)
        assert row.clusters >= 2
        assert row.loss is not None


# ---------------------------------------------------------------------------- methods and limits


def test_fedklpr_without_its_parts_is_fedavg(federate):
    """All masks full, no pull, data-size weights: McMahan's weighted mean, bit for bit."""
    bare = ("pruning.target=0", "kl.weight=0", "method.aggregation_weights=data_size")
    early = ("pruning.first_round=1", "kl.from_round=1")
    fedklpr = federate("method=fedklpr", *bare, *early, ONE_ROUND, folder="fedklpr")
    fedavg = federate("method=fedavg", *early, ONE_ROUND, folder="fedavg")
    for name, tensor in fedavg.state().tensors.items():
        assert np.array_equal(fedklpr.state().tensors[name], tensor), name
    sizes = {name: PERSONS[name] * CAMERAS * PICTURES for name in PAIR}
    for name in PAIR:
        assert fedavg.row(1, name).weight == pytest.approx(sizes[name] / sum(sizes.values()))
        assert fedklpr.row(1, name).map == fedavg.row(1, name).map


def test_one_client_alone_gets_its_own_model_back(federate):
    sent = {}

    def keep(message, context, app):
        reply = app(message, context)
        sent["payload"] = read_payload(reply.content)[FRONT.size :]
        return reply

    lossless = ("wire.delta=false", ALONE, ONE_ROUND)
    run = federate(*lossless, names=["ash"], app=interfering(keep))
    layout = shared_layout(compose_settings("smoke", ("model.height=32", "model.width=16")))
    full = {spec.name: np.ones(spec.shape, np.bool_) for spec in layout if spec.prunable}
    tensors, _ = decode_dense(sent["payload"], layout=layout, known_masks=full)
    for name, merged in run.state().tensors.items():
        np.testing.assert_array_equal(merged, tensors[name])


def test_deltas_change_the_bytes_and_nothing_else(federate, undisturbed):
    whole = federate(*PRUNES, "wire.delta=false")
    assert whole.model == undisturbed.model
    assert whole.results == undisturbed.results
    assert whole.row(2, None).bytes_up > undisturbed.row(2, None).bytes_up


@pytest.mark.parametrize("values", ["bfloat16", "int8"])
def test_a_federation_runs_with_values_that_lose_bits(values, federate, undisturbed):
    run = federate(*PRUNES, f"wire.values={values}")
    assert {row.status for row in run.rows if row.client} == {"merged"}
    assert run.row(2, "ash").bytes_up < 0.7 * undisturbed.row(2, "ash").bytes_up


def test_a_real_site_is_told_the_seconds_that_are_not_its_own_work(federate):
    real = federate(ONE_ROUND, "deployment=true", folder="real")
    simulated = federate(ONE_ROUND, folder="simulated")
    for name in PAIR:
        assert 0 <= real.row(1, name).seconds["send"] < 1
        assert "send" not in simulated.row(1, name).seconds
    own = {"open", "train", "encode"}
    assert own < real.row(1, PAIR[0]).seconds.keys()
    assert own < simulated.row(1, PAIR[0]).seconds.keys()


def test_a_real_sites_log_says_when_training_begins_and_is_over(federate, flower_log):
    run = federate(ONE_ROUND, "deployment=true", folder="real")
    sizes = [run.row(1, name).bytes_up for name in PAIR]
    assert "round 1: training begins" in flower_log.text
    for size in sizes:
        assert f"round 1: training is over, {size} bytes to send" in flower_log.text
    flower_log.clear()
    federate(ONE_ROUND, folder="simulated")
    assert "training begins" not in flower_log.text

"""Claims about a whole federation: who is merged, who is left out, and that the seed decides."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from safetensors.numpy import load
from tiny_federation import (
    CAMERAS,
    NAMES,
    PERSONS,
    PICTURES,
    Finished,
    client_name,
    interfering,
)

from fedklpr_flwr import client_app
from fedklpr_flwr.errors import MemoryStateError, RunError
from fedklpr_flwr.federation.mask_file import MaskFile
from fedklpr_flwr.federation.personal_model import float_state, initial_network, shared_layout
from fedklpr_flwr.runtime.in_process import InProcessGrid
from fedklpr_flwr.runtime.records import PAYLOAD, REPORT, payload_record, read_payload
from fedklpr_flwr.settings import compose_settings, load_settings
from fedklpr_flwr.wire.codec import decode_dense, encode
from fedklpr_flwr.wire.layout import Layout, layout_of
from fedklpr_flwr.wire.sections import RAW
from fedklpr_flwr.wire.table import FIRST_PLANE, open_front, seal

PAIR = NAMES[:2]
PRUNES = ("method.pruning=always", "pruning.first_round=1")
ONE_ROUND = "federation.rounds=1"
ALONE = "federation.min_clients=1"
STATUSES = {"merged", "failed", "late", "absent"}


@pytest.fixture
def federate(federate_in, tmp_path):
    """The tiny federation of two clients, if nothing else is said: half the time of three."""
    return lambda *overrides, folder="run", names=PAIR, **how: federate_in(
        tmp_path / folder, *overrides, names=names, **how
    )


@pytest.fixture(scope="module")
def undisturbed(federate_in, tmp_path_factory):
    """Two rounds in which everybody prunes and nothing goes wrong."""
    return federate_in(tmp_path_factory.mktemp("undisturbed") / "run", *PRUNES, names=PAIR)


def pruned_share(run, client):
    masks = MaskFile(run.folder / "clients" / client / "mask.safetensors")
    return 1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


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
    dense = 4 * sum(array.size for array in load(run.model).values())
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


# ---------------------------------------------------------------------------- faulty clients


def fails(message, context, app):
    raise RuntimeError("the camera store is on fire")


def after(damage):
    """The real client answers, and `damage(reply, layout, settings)` spoils its answer."""

    def what(message, context, app):
        reply, settings = app(message, context), load_settings(context.run_config)
        damage(reply.content, shared_layout(settings))
        return reply

    return what


def zeros(layout: Layout):
    return {spec.name: np.zeros(spec.shape, np.float32) for spec in layout}


def with_nan_weights(content, layout: Layout):
    """A payload whose first tensor's exponents are all ones: infinity, with a right checksum.

    Our own encoder refuses to write such a thing, so it is put together here.
    """
    data = memoryview(encode(zeros(layout), {}, layout=layout))
    front = open_front(data, layout)
    table = front.table.copy()
    ends = front.body + np.cumsum(table["lengths"].astype(np.int64))
    sections = [data[end - n : end] for end, n in zip(ends, table["lengths"].flat, strict=True)]
    sections[FIRST_PLANE] = bytes([255]) * layout[0].size
    table["codings"][0, FIRST_PLANE], table["lengths"][0, FIRST_PLANE] = RAW, layout[0].size
    content[PAYLOAD] = payload_record(seal(table, sections, layout, front.known_mask_hash))


def with_a_mask_of_the_wrong_shape(content, layout: Layout):
    tensors = zeros(layout)
    name = next(spec.name for spec in layout if spec.prunable)
    tensors[name] = tensors[name][:-1]
    masks = {name: np.ones(tensors[name].shape, np.bool_)}
    content[PAYLOAD] = payload_record(encode(tensors, masks, layout=layout_of(tensors, masks)))


def with_a_truncated_payload(content, layout: Layout):
    content[PAYLOAD] = payload_record(read_payload(content)[:-100])


def with_an_empty_payload(content, layout: Layout):
    content[PAYLOAD] = payload_record(b"")


def with_float_arrays(content, layout: Layout):
    content[PAYLOAD] = ArrayRecord([np.zeros(4, np.float32)])


def with_huge_weights(content, layout: Layout):
    tensors = zeros(layout)
    tensors[layout[0].name].flat[0] = 1e30
    content[PAYLOAD] = payload_record(encode(tensors, {}, layout=layout))


def with_no_array(content, layout: Layout):
    content[PAYLOAD] = ArrayRecord({"0": Array("uint8", (9,), "numpy.ndarray", b"no array")})


def without_a_report(content, layout: Layout):
    del content[REPORT]


def with_everything_pruned(content, layout: Layout):
    masks = {spec.name: np.zeros(spec.shape, np.bool_) for spec in layout if spec.prunable}
    content[PAYLOAD] = payload_record(encode(zeros(layout), masks, layout=layout))


def saying(**scalars):
    def damage(content, layout: Layout):
        for key, value in scalars.items():
            content[REPORT][key] = value

    return damage


FAULTS = {
    "raises": (fails, "the camera store is on fire"),
    "NaN weights": (after(with_nan_weights), "must be finite"),
    "wrong shape": (after(with_a_mask_of_the_wrong_shape), "another model"),
    "truncated": (after(with_a_truncated_payload), "checksum"),
    "empty": (after(with_an_empty_payload), "length"),
    "float arrays": (after(with_float_arrays), "one uint8 array"),
    "no report": (after(without_a_report), "'report'"),
    "beyond the target": (after(with_everything_pruned), "target"),
    "negative divergence": (after(saying(divergence=-0.5)), "'divergence', it has -0.5"),
    "NaN divergence": (after(saying(divergence=math.nan)), "'divergence', it has nan"),
    "accuracy above one": (after(saying(accuracy=1.5)), "'accuracy', it has 1.5"),
    "divergence beyond sums": (after(saying(divergence=1e300)), "'divergence', it has 1e+300"),
    "idle as text": (after(saying(idle="no")), "'idle', it has 'no'"),
    "half a picture": (after(saying(examples=2.5)), "'examples', it has 2.5"),
    "two of one name": (after(saying(**{"loss.a": 1.0})), "'loss' once"),
    "huge weights": (after(with_huge_weights), "expected none beyond"),
    "no array": (after(with_no_array), "cannot be read as an array"),
    "needs it again": (after(saying(status="needs_sync")), "needs_sync"),
}


@pytest.fixture(scope="module")
def without_birch(federate_in, tmp_path_factory):
    """One round in which birch raises."""
    folder = tmp_path_factory.mktemp("without-birch") / "run"
    broken = interfering(fails, client="birch")
    return federate_in(folder, ALONE, ONE_ROUND, app=broken, names=PAIR)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_client_is_named_and_left_out_and_the_round_goes_on(
    fault, federate, without_birch, flower_log
):
    what, reason = FAULTS[fault]
    run = federate(ALONE, ONE_ROUND, app=interfering(what, client="birch", round=1))
    row = run.row(1, "birch")
    assert (row.status, row.weight) == ("failed", 0.0)
    assert reason in row.failed
    assert run.row(1, None).failed == "birch"
    assert "birch is left out" in flower_log.text
    assert reason in flower_log.text
    assert (run.row(1, "ash").status, run.row(1, "ash").weight) == ("merged", 1.0)
    assert run.model == without_birch.model, "something of the damaged reply was merged"


SCORES = {
    "text": ("0.9", "it has '0.9'"),
    "NaN": (math.nan, "it has nan"),
    "huge": (1e300, "it has 1e+300"),
    "bool": (True, "it has True"),
}


@pytest.mark.parametrize("fault", SCORES)
def test_an_update_with_unusable_scores_is_merged_without_them(fault, federate, undisturbed):
    value, reason = SCORES[fault]
    wrong = interfering(after(saying(map_local=value)), client="birch", round=1)
    run = federate(*PRUNES, app=wrong)
    row = run.row(1, "birch")
    assert (row.status, row.rank1_local, row.map_local) == ("merged", None, None)
    assert f"'map_local', {reason}" in row.failed
    assert run.row(1, None).failed == "birch"
    assert run.row(1, None).map_local == run.row(1, "ash").map_local, "the mean of who has one"
    assert run.row(2, "birch").failed is False
    assert run.model == undisturbed.model


EVALUATION_FAULTS = {
    **{
        f"score {name}": (after(saying(map=v)), f"'map', {why}")
        for name, (v, why) in SCORES.items()
    },
    "raises": FAULTS["raises"],
    "no report": FAULTS["no report"],
    "needs it again": FAULTS["needs it again"],
    "two of one name": (after(saying(**{"rank1.a": 1.0})), "'rank1' once"),
}


@pytest.mark.parametrize("fault", EVALUATION_FAULTS)
def test_a_fault_in_an_evaluation_costs_the_scores_alone(fault, federate, undisturbed, flower_log):
    what, reason = EVALUATION_FAULTS[fault]
    run = federate(*PRUNES, app=interfering(what, client="birch", round=1, phase="evaluate"))
    row = run.row(1, "birch")
    assert (row.status, row.rank1, row.map) == ("merged", None, None)
    assert row.weight > 0
    assert reason in row.failed
    assert "birch's scores are left out" in flower_log.text
    assert run.row(1, None).map == run.row(1, "ash").map
    assert run.model == undisturbed.model


@pytest.mark.parametrize("fault", ["score NaN", "raises", "no report", "needs it again"])
def test_a_fault_in_round_zero_is_a_failure_of_that_client(fault, federate, flower_log):
    what, reason = EVALUATION_FAULTS[fault]
    run = federate(ONE_ROUND, app=interfering(what, client="birch", round=0, phase="evaluate"))
    row = run.row(0, "birch")
    assert (row.status, row.rank1) == ("failed", None)
    assert reason in row.failed
    assert "birch is left out" in flower_log.text
    assert (run.row(0, "ash").status, run.row(0, "ash").failed) == ("merged", False)
    assert run.row(0, None).status == "1 merged"
    assert run.row(1, "birch").status == "merged"


def test_a_run_whose_initial_model_nobody_could_evaluate_stops_and_can_go_on(
    federate, tmp_path, undisturbed
):
    with pytest.raises(RunError) as error:
        federate(*PRUNES, app=interfering(fails, round=0, phase="evaluate"))
    text = str(error.value)
    assert "no client could evaluate the initial model" in text
    for name in PAIR:
        assert f"{name}: RuntimeError: the camera store is on fire" in text
    assert f"resume={tmp_path / 'run'}" in text
    assert Finished(tmp_path / "run").rows == []
    continued = federate(*PRUNES)
    assert (continued.model, continued.figures) == (undisturbed.model, undisturbed.figures)


def test_a_round_that_nobody_could_evaluate_is_logged_and_the_run_goes_on(
    federate, undisturbed, flower_log
):
    run = federate(*PRUNES, app=interfering(fails, round=1, phase="evaluate"))
    assert "round 1: no client could be evaluated (ash: RuntimeError: the" in flower_log.text
    assert [run.row(1, name).status for name in PAIR] == ["merged", "merged"]
    assert run.row(1, None).map is None
    assert run.model == undisturbed.model


def test_a_client_that_is_late_in_round_zero_is_late(federate):
    class BirchNeverHears(InProcessGrid):
        def push_messages(self, messages):
            for message in messages:
                first = message.metadata.group_id == "0" and message.metadata.dst_node_id == 3
                yield from ["lost"] if first else super().push_messages([message])

    run = federate(ONE_ROUND, "federation.round_seconds=1", grid=BirchNeverHears)
    assert run.row(0, "birch").status == "late"
    assert run.row(1, "birch").status == "merged"


def test_a_node_without_a_proper_name_is_left_out_of_the_count(federate, flower_log):
    def nameless(message, context, app):
        reply = app(message, context)
        if message.metadata.message_type == "query" and client_name(context) == "birch":
            reply.content[REPORT]["client"] = "../birch"
        return reply

    with pytest.raises(RunError, match="1 of 2 clients came") as error:
        federate(app=lambda message, context: nameless(message, context, client_app.app))
    assert "node 3 is there and not counted: it gives the name '../birch'" in str(error.value)


def test_a_client_that_was_not_merged_keeps_its_pruned_share_and_is_not_counted(federate):
    run = federate(*PRUNES, ALONE, app=interfering(fails, client="birch", round=2))
    held = run.row(1, "birch").pruned
    assert held > 0.19
    row, whole = run.row(2, "birch"), run.row(2, None)
    assert (row.status, row.pruned) == ("failed", held)
    assert run.state().clients["birch"].pruned == held
    assert whole.pruned == pytest.approx((held + run.row(2, "ash").pruned) / 2)
    assert (run.row(1, None).crr, whole.crr, run.row(0, None).crr) == ("pruned 2", "pruned 1", "")


def test_a_full_disk_stops_the_run_and_is_no_clients_fault(federate, tmp_path):
    """The file where birch's reply is spooled cannot be made; ash's was."""

    def block(message, context, app):
        if message.metadata.message_type == "train":
            (tmp_path / "run" / "payloads" / "0001-birch.payload").mkdir()
        return app(message, context)

    with pytest.raises(RunError, match=r"0001-birch\.payload cannot be written: .*; make room"):
        federate(ALONE, ONE_ROUND, app=interfering(block, client="birch"))
    assert Finished(tmp_path / "run").state().round == 0


def test_a_mask_that_the_server_lost_stops_the_run_and_is_no_clients_fault(federate, tmp_path):
    def lose(message, context, app):
        (tmp_path / "run" / "clients" / "birch" / "mask.safetensors").unlink()
        return app(message, context)

    with pytest.raises(MemoryStateError, match=r"birch/mask\.safetensors"):
        federate(*PRUNES, ALONE, app=interfering(lose, client="birch", round=2))


def test_a_client_that_failed_once_is_merged_in_the_next_round(federate):
    run = federate(ALONE, app=interfering(fails, client="birch", round=1))
    assert run.row(1, "birch").status == "failed"
    assert run.row(2, "birch").status == "merged"
    assert run.row(2, "birch").weight > 0
    assert run.state().clients["birch"].base_round == 2


def test_an_update_whose_scores_are_lost_stays_merged(federate, undisturbed):
    app = interfering(fails, client="birch", round=1, phase="evaluate")
    run = federate(*PRUNES, app=app)
    row = run.row(1, "birch")
    assert (row.status, row.rank1) == ("merged", None)
    assert "on fire" in row.failed
    assert run.row(2, "birch").status == "merged"
    assert run.model == undisturbed.model, "birch trained from another model than was merged"


class CedarNeverHears(InProcessGrid):
    """What is sent to cedar for training gets lost on its way."""

    def push_messages(self, messages):
        for message in messages:
            if message.metadata.message_type == "train" and message.metadata.dst_node_id == 4:
                yield "lost"
            else:
                yield from super().push_messages([message])


def test_who_does_not_answer_before_the_deadline_is_late(federate, flower_log):
    deadline = "federation.round_seconds=1"
    run = federate(ONE_ROUND, deadline, grid=CedarNeverHears, names=NAMES)
    row = run.row(1, "cedar")
    assert (row.status, row.weight, row.bytes_up) == ("late", 0.0, 0)
    assert row.failed == "no answer within 1 s"
    assert row.rank1 is not None, "it is evaluated all the same"
    assert [run.row(1, name).status for name in PAIR] == ["merged", "merged"]
    assert "cedar is left out: no answer" in flower_log.text


# ---------------------------------------------------------------------------- too few replies


def test_too_few_replies_are_asked_for_once_more_and_then_the_run_stops(federate, tmp_path):
    asked = []

    def count_and_fail(message, context, app):
        asked.append(client_name(context))
        if client_name(context) != "birch":
            return app(message, context)
        raise RuntimeError("no disk")

    app = interfering(count_and_fail, round=2)
    with pytest.raises(RunError) as error:
        federate(app=app)
    assert sorted(asked) == ["ash", "birch", "birch"]
    text = str(error.value)
    assert "birch: RuntimeError: no disk" in text
    assert f"resume={tmp_path / 'run'}" in text
    assert "federation.min_clients=2" in text


def test_a_stopped_run_keeps_its_last_round_and_goes_on_from_it(federate, tmp_path, undisturbed):
    app = interfering(fails, client="birch", round=2)
    with pytest.raises(RunError):
        federate(*PRUNES, app=app)
    stopped = Finished(tmp_path / "run")
    assert stopped.state().round == 1
    assert stopped.figures == [row for row in undisturbed.figures if row["round"] < 2]
    assert federate(*PRUNES).model == undisturbed.model


def test_a_second_try_does_not_prune_twice(federate, undisturbed):
    """The client trains, writes its memory, and its reply is lost; then it is asked again."""

    def lose_the_reply(message, context, app):
        app(message, context)
        raise ConnectionError("the line was cut")

    app = interfering(lose_the_reply, client="birch", round=1, times=1)
    run = federate(*PRUNES, app=app)
    assert run.row(1, "birch").status == "merged"
    assert run.row(1, "birch").pruned == pytest.approx(0.2, abs=1e-3)
    assert run.model == undisturbed.model


def test_too_few_nodes_stop_the_run_with_the_command_to_type(federate):
    with pytest.raises(RunError) as error:
        federate(nodes=1)
    text = str(error.value)
    assert "1 of 2 clients came" in text
    assert "federation.wait_seconds=0" in text
    assert "num-supernodes=2" in text
    assert "fedklpr run experiment=smoke" in text


def test_a_node_that_speaks_for_no_client_is_left_alone(federate, undisturbed):
    run = federate(*PRUNES, nodes=3)
    assert run.model == undisturbed.model
    assert {row.client for row in run.rows} == {*PAIR, None}


# ---------------------------------------------------------------------------- lost memories


def memory_of(context) -> Path:
    (folder,) = Path(context.node_config["state-dir"]).glob(f"*/{client_name(context)}")
    return folder


def forget(message, context, app):
    shutil.rmtree(memory_of(context))
    return app(message, context)


def damage_memory(message, context, app):
    for file in memory_of(context).iterdir():
        file.write_bytes(file.read_bytes()[:50])
    return app(message, context)


@pytest.mark.parametrize(
    ("loss", "number", "phase"),
    [(forget, 1, "evaluate"), (forget, 2, "train"), (damage_memory, 2, "train")],
)
def test_a_client_that_lost_its_memory_gets_model_and_mask_again(
    loss, number, phase, federate, undisturbed
):
    run = federate(
        *PRUNES, app=interfering(loss, client="birch", round=number, phase=phase, times=1)
    )
    row, usual = run.row(number, "birch"), undisturbed.row(number, "birch")
    assert row.status == "merged"
    assert row.bytes_down > 1.5 * (usual.bytes_down if phase == "evaluate" else 0)
    assert run.row(2, "birch").pruned == undisturbed.row(2, "birch").pruned
    assert run.model == undisturbed.model


@pytest.mark.slow
@pytest.mark.parametrize("method", ["feducc", "fedureid", "lotteryfl", "local_only"])
def test_a_client_of_any_method_goes_on_without_its_memory(method, federate):
    app = interfering(forget, client="birch", round=2, times=1)
    run = federate(f"method={method}", app=app)
    row = run.row(2, "birch")
    assert (row.status, row.failed) == ("merged", False)
    assert row.rank1 is not None


class CedarIsAway(InProcessGrid):
    """cedar's node is gone while round 2 begins, and back for round 3."""

    calls = 0

    def get_node_ids(self):
        CedarIsAway.calls += 1
        nodes = list(super().get_node_ids())
        return nodes[:2] if CedarIsAway.calls == 3 else nodes


def test_a_client_that_comes_back_starts_from_the_newest_model(federate):
    seen = {}

    def look(message, context, app):
        seen[int(message.metadata.group_id)] = len(read_payload(message.content))
        return app(message, context)

    CedarIsAway.calls = 0
    app = interfering(look, client="cedar")
    run = federate("federation.rounds=3", grid=CedarIsAway, app=app, names=NAMES)
    assert run.row(2, "cedar").status == "absent"
    assert run.row(3, "cedar").status == "merged"
    assert (seen[1], 2 in seen) == (0, False)
    assert seen[3] > 0, "cedar was not sent the model of round 2 and trained from an older one"


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
        sent["payload"] = read_payload(reply.content)
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


# ---------------------------------------------------------------------------- stopped and continued


def stop_by_hand(message, context, app):
    raise KeyboardInterrupt


def finish_and_stop(message, context, app):
    app(message, context)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("number", "phase", "stop"),
    [
        (0, "evaluate", stop_by_hand),
        (1, "train", finish_and_stop),
        (1, "evaluate", finish_and_stop),
        (2, "train", stop_by_hand),
        (2, "evaluate", stop_by_hand),
    ],
)
def test_a_run_stopped_anywhere_and_continued_equals_one_never_stopped(
    number, phase, stop, federate, undisturbed
):
    app = interfering(stop, client="birch", round=number, phase=phase)
    with pytest.raises(KeyboardInterrupt):
        federate(*PRUNES, app=app)
    continued = federate(*PRUNES)
    assert continued.model == undisturbed.model
    assert continued.results == undisturbed.results


def test_a_finished_run_continued_for_more_rounds_equals_a_longer_one(federate):
    """With a wire that loses bits: what both sides owe one another is kept over the stop, too."""
    lossy = (*PRUNES, "wire.values=bfloat16")
    federate(*lossy, ONE_ROUND)
    continued = federate(*lossy)
    whole = federate(*lossy, folder="whole")
    assert continued.model == whole.model
    assert continued.results == whole.results


def test_a_run_may_be_continued_over_a_wire_of_another_form(federate):
    for rounds, values in ((1, "bfloat16"), (2, "float32"), (3, "float32")):
        chosen = (f"wire.values={values}", f"federation.rounds={rounds}")
        run = federate(*PRUNES, *chosen)
        assert {row.status for row in run.rows if row.client} == {"merged"}, values


def test_a_finished_run_continued_for_no_more_rounds_changes_nothing(federate):
    first = federate(*PRUNES, ONE_ROUND)
    model, figures = first.model, first.figures
    again = federate(*PRUNES, ONE_ROUND)
    assert (again.model, again.figures) == (model, figures)

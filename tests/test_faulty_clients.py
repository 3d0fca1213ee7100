"""Claims about clients that fail: each is named and left out, and the round goes on."""

import contextlib
import math
import resource

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from tiny_federation import (
    ALONE,
    NAMES,
    ONE_ROUND,
    PAIR,
    PRUNES,
    Finished,
    client_name,
    fails,
    interfering,
)

from fedklpr_flwr import client_app
from fedklpr_flwr.config.compose import load_settings
from fedklpr_flwr.errors import MemoryStateError, RunError, WireError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.protocol.flower_messages import (
    PAYLOAD,
    REPORT,
    TASK,
    payload_record,
    read_payload,
)
from fedklpr_flwr.protocol.update_front import FRONT, with_front
from fedklpr_flwr.server import stored_updates as spool
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.wire.codec import encode
from fedklpr_flwr.wire.header import FIRST_PLANE, open_front, seal
from fedklpr_flwr.wire.layout import Layout, layout_of
from fedklpr_flwr.wire.section_coding import RAW
from fedklpr_flwr.wire.size_limit import largest_payload

pytestmark = pytest.mark.slow


@pytest.fixture
def federate(federate_in, tmp_path):
    """The tiny federation of two clients, if nothing else is said: half the time of three."""
    return lambda *overrides, folder="run", names=PAIR, **how: federate_in(
        tmp_path / folder, *overrides, names=names, **how
    )


# ---------------------------------------------------------------------------- faulty clients


def after(damage):
    """The real client answers, and `damage(reply, layout, settings)` spoils its answer.

    A payload that it puts in the place of the update's gets the right front, as a liar's would.
    """

    def what(message, context, app):
        reply, settings = app(message, context), load_settings(context.run_config)
        honest = reply.content[PAYLOAD]
        damage(reply.content, shared_layout(settings))
        if reply.content[PAYLOAD] is not honest:
            with contextlib.suppress(WireError):
                task, payload = message.content[TASK], bytes(read_payload(reply.content))
                front = with_front(payload, str(task["run"]), int(task["round"]))
                reply.content[PAYLOAD] = payload_record(front)
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
    content[PAYLOAD] = payload_record(read_payload(content)[FRONT.size : -100])


def with_a_payload_far_too_long(content, layout: Layout):
    content[PAYLOAD] = payload_record(bytes(3 * largest_payload(layout)))


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
    "far too long": (after(with_a_payload_far_too_long), "a payload of this model has at most"),
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


def test_the_bytes_of_a_refused_update_count_as_they_were_sent(federate):
    broken = interfering(after(with_a_truncated_payload), client="birch", round=1)
    row = federate(ALONE, ONE_ROUND, app=broken).row(1, "birch")
    assert row.status == "failed"
    assert 0 < row.bytes_message_up - row.bytes_up < 20_000
    assert row.bytes_bound == 0
    assert row.bytes_paper == row.bytes_dense, "down alone: what is refused weighs nothing there"


def test_a_payload_far_too_long_is_never_written(federate, monkeypatch):
    written = []

    def noted(path, content):
        written.append(len(content))
        write_atomically(path, content)

    monkeypatch.setattr(spool, "write_atomically", noted)
    broken = interfering(after(with_a_payload_far_too_long), client="birch", round=1)
    run = federate(ALONE, ONE_ROUND, app=broken)
    assert run.row(1, "birch").bytes_up > 2 * max(written)
    assert run.row(1, "ash").status == "merged"


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


def test_why_a_client_was_late_is_still_told_when_its_evaluation_fails_too(federate):
    broken = interfering(fails, client="cedar", round=1, phase="evaluate")
    deadline = "federation.round_seconds=1"
    run = federate(ONE_ROUND, deadline, grid=CedarNeverHears, names=NAMES, app=broken)
    row = run.row(1, "cedar")
    assert row.status == "late"
    assert row.failed == (
        "no answer within 1 s; in the evaluation: RuntimeError: the camera store is on fire"
    )


def test_a_reason_that_is_the_same_in_training_and_evaluation_is_told_once(federate):
    run = federate(ALONE, ONE_ROUND, app=interfering(fails, client="birch", round=1, phase=None))
    assert run.row(1, "birch").failed == "RuntimeError: the camera store is on fire"


class CedarAnswersARoundLater(InProcessGrid):
    """cedar's update of round 1 arrives with those of round 2."""

    held, arrived = None, 0

    def push_messages(self, messages):
        for message in messages:
            (name,) = super().push_messages([message])
            key = (message.metadata.message_type, message.metadata.group_id)
            if key == ("train", "1") and message.metadata.dst_node_id == 4:
                self.held = self._answer(self._waiting.pop(name))
            yield name

    def pull_messages(self, message_ids):
        replies = super().pull_messages(message_ids)
        if self.held and replies and replies[0].metadata.group_id == "2":
            replies, self.held = [self.held, *replies], None
            CedarAnswersARoundLater.arrived += 1
        return replies


def test_an_update_that_comes_after_the_deadline_is_never_merged(federate):
    CedarAnswersARoundLater.arrived = 0
    run = federate(*PRUNES, "federation.round_seconds=1", grid=CedarAnswersARoundLater, names=NAMES)
    assert CedarAnswersARoundLater.arrived == 1
    assert [run.row(number, "cedar").status for number in (1, 2)] == ["late", "merged"]
    never = interfering(fails, client="cedar", round=1)
    assert run.model == federate(*PRUNES, app=never, names=NAMES, folder="never").model


class EverythingArrivesTwice(InProcessGrid):
    """Each reply comes again with the next one."""

    last: tuple = ()

    def pull_messages(self, message_ids):
        replies = super().pull_messages(message_ids)
        both, self.last = [*replies, *self.last], tuple(replies)
        return both


def test_an_update_that_comes_twice_is_merged_once(federate, undisturbed):
    run = federate(*PRUNES, grid=EverythingArrivesTwice)
    assert run.figures == undisturbed.figures
    assert run.model == undisturbed.model


class CedarLeaves(InProcessGrid):
    """cedar's node is there for round 1, and never again."""

    looks = 0

    def get_node_ids(self):
        self.looks += 1
        nodes = list(super().get_node_ids())
        return nodes if self.looks <= 2 else nodes[:2]


def test_a_client_that_leaves_for_ever_is_absent_and_nobody_waits_for_it(federate):
    rounds = (*PRUNES, "federation.rounds=3", "federation.round_seconds=600")
    run = federate(*rounds, grid=CedarLeaves, names=NAMES)
    rows = [run.row(number, "cedar") for number in (1, 2, 3)]
    assert [row.status for row in rows] == ["merged", "absent", "absent"]
    assert [row.weight for row in rows[1:]] == [0.0, 0.0]
    assert [run.row(3, name).status for name in PAIR] == ["merged", "merged"]
    assert run.state().clients["cedar"].base_round == 1, "what it had is kept, should it come back"


# ---------------------------------------------------------------------------- full disks


@contextlib.contextmanager
def no_room_for(size):
    """From here on the kernel refuses to write a file beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("phase", ["train", "evaluate"])
def test_a_client_whose_disk_is_full_is_named_and_merged_again_once_there_is_room(phase, federate):
    def full(message, context, app):
        with no_room_for(100):
            return app(message, context)

    broken = interfering(full, client="birch", round=1, phase=phase)
    run = federate(*PRUNES, ALONE, app=broken)
    row = run.row(1, "birch")
    assert row.status == ("failed" if phase == "train" else "merged")
    assert "cannot be written: File too large; make room" in row.failed
    assert (run.row(1, "ash").status, run.row(1, "ash").failed) == ("merged", False)
    again = run.row(2, "birch")
    assert (again.status, again.failed) == ("merged", False)


def test_a_server_whose_disk_is_full_stops_and_goes_on_once_there_is_room(
    federate, tmp_path, undisturbed
):
    with contextlib.ExitStack() as disk:

        def fill_up(message, context, app):
            reply = app(message, context)
            disk.enter_context(no_room_for(100))
            return reply

        app = interfering(fill_up, client="birch", round=2)
        with pytest.raises(RunError, match=r"cannot be written: File too large; make room"):
            federate(*PRUNES, app=app)
    assert Finished(tmp_path / "run").state().round == 1
    continued = federate(*PRUNES)
    assert (continued.model, continued.results) == (undisturbed.model, undisturbed.results)


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


def test_who_fails_too_often_in_a_row_is_named_and_asked_no_more(federate, flower_log):
    broken = interfering(fails, client="birch")
    run = federate(ALONE, "federation.rounds=3", "defence.quarantine=2", app=broken)
    assert [run.row(number, "birch").status for number in (1, 2, 3)] == [
        "failed",
        "failed",
        "absent",
    ]
    last = run.row(3, "birch")
    assert "in quarantine" in last.failed
    assert (last.bytes_message_down, run.row(3, None).failed) == (0, "birch")
    assert "birch has failed 2 rounds in a row and is asked no more" in flower_log.text
    assert run.row(3, "ash").status == "merged"


# ------------------------------------------------------------ what real boxes may not do

REAL = ("deployment=true", "federation.evaluate_seconds=1")


class BirchEvaluatesNever(InProcessGrid):
    """birch trains, and never answers an evaluation."""

    asked = 0

    def push_messages(self, messages):
        for message in messages:
            if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 3:
                type(self).asked += 1
                yield "lost"
            else:
                yield from super().push_messages([message])


def test_a_box_that_trains_and_never_answers_an_evaluation_is_asked_no_more(federate, flower_log):
    BirchEvaluatesNever.asked = 0
    words = (*REAL, ALONE, "federation.rounds=4", "defence.quarantine=2")
    run = federate(*words, grid=BirchEvaluatesNever)
    assert "birch has failed 2 rounds in a row and is asked no more" in flower_log.text
    assert BirchEvaluatesNever.asked == 2, "in the rounds 0 and 1"
    assert [run.row(number, "birch").status for number in (1, 2)] == ["merged", "absent"]
    assert run.row(1, "birch").failed == "no answer within 1 s"
    assert run.row(4, "ash").status == "merged"


def test_of_two_boxes_it_is_said_at_the_start_that_nothing_is_bounded(federate, flower_log):
    federate("deployment=true", ONE_ROUND)
    assert "2 clients have no median" in flower_log.text


def test_with_two_boxes_numbers_that_no_training_reaches_are_refused_where_they_come_from(federate):
    def poison(content, layout: Layout):
        tensors = {s.name: np.full(s.shape, 3e4 if len(s.shape) > 1 else 1e9) for s in layout}
        tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
        content[PAYLOAD] = payload_record(encode(tensors, {}, layout=layout))

    words = ("deployment=true", ALONE, "federation.rounds=2", "wire.delta=false")
    run = federate(*words, app=interfering(after(poison), client="birch"))
    assert [run.row(number, "ash").status for number in (1, 2)] == ["merged", "merged"]
    assert "expected none beyond" in run.row(1, "birch").failed


def test_who_spoilt_the_model_is_named_where_an_honest_box_fails_by_it(federate, flower_log):
    def push(content, layout: Layout):
        by_axes = {True: 0.1, False: 1.0}
        tensors = {s.name: np.full(s.shape, by_axes[len(s.shape) > 1]) for s in layout}
        tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
        content[PAYLOAD] = payload_record(encode(tensors, {}, layout=layout))

    def app(message, context):
        of_birch = interfering(after(push), client="birch", round=1)
        of_ash = interfering(after(with_huge_weights), client="ash", round=2)
        return (of_birch if client_name(context) == "birch" else of_ash)(message, context)

    words = ("deployment=true", ALONE, "federation.rounds=2", "wire.delta=false")
    run = federate(*words, app=app)
    assert "birch's update of round 1 was" in flower_log.text
    assert run.row(2, "ash").failed.startswith("it was sent a model that may be spoilt (birch's")


def test_figures_that_a_box_makes_up_are_refused_and_shown_in_printable_words(federate, flower_log):
    lie = after(saying(**{"seconds.\x1b]0;owned\x07": 1.0}))
    run = federate(ALONE, ONE_ROUND, app=interfering(lie, client="birch"))
    assert "'seconds'" in run.row(1, "birch").failed
    assert "\x1b" not in flower_log.text


def raises_escapes(message, context, app):
    raise RuntimeError("\x1b]0;owned\x07 [red]")


def test_a_boxs_words_reach_the_terminal_without_control_characters(federate, flower_log):
    run = federate(ALONE, ONE_ROUND, app=interfering(raises_escapes, client="birch"))
    assert run.row(1, "birch").failed == "RuntimeError: ?]0;owned? [red]"
    assert "\x1b" not in flower_log.text


def test_releases_beyond_what_the_server_can_have_asked_for_are_refused(federate):
    words = ("privacy=local_dp", "method.aggregation_weights=uniform", ALONE, ONE_ROUND)
    lie = interfering(after(saying(releases=10**12)), client="birch")
    assert "'releases'" in federate(*words, app=lie).row(1, "birch").failed


@pytest.mark.parametrize("delta", ["true", "false"])
def test_an_update_that_is_sent_again_in_a_later_round_is_refused(delta, federate):
    kept = []

    def replay(message, context, app):
        reply = app(message, context)
        kept.append(reply.content[PAYLOAD])
        reply.content[PAYLOAD] = kept[0]
        return reply

    words = (ALONE, "federation.rounds=2", f"wire.delta={delta}")
    run = federate(*words, app=interfering(replay, client="birch"))
    assert run.row(1, "birch").status == "merged"
    row = run.row(2, "birch")
    assert (row.status, row.weight) == ("failed", 0.0)
    assert "the update is of round 1, this is round 2" in row.failed
    assert run.row(2, "ash").status == "merged"


def test_an_update_of_another_run_is_refused(federate):
    def of_another_run(message, context, app):
        reply = app(message, context)
        payload = bytes(read_payload(reply.content))[FRONT.size :]
        reply.content[PAYLOAD] = payload_record(with_front(payload, "another", 1))
        return reply

    run = federate(ALONE, ONE_ROUND, app=interfering(of_another_run, client="birch"))
    assert "the update is of the run" in run.row(1, "birch").failed

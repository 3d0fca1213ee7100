"""Claims about wire.values=change in whole federations: few bytes, and nothing lost on the way."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_stopped_federation import damage_memory, finish_and_stop, stop_by_hand
from tiny_federation import NAMES, PAIR, PRUNES, forget, interfering, memory_of

from fedklpr_flwr.client import incoming_model
from fedklpr_flwr.client.state_store import MemoryFolder
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.protocol.flower_messages import read_payload
from fedklpr_flwr.runs.kept_changes import KeptChanges
from fedklpr_flwr.wire.payload import is_change

pytestmark = pytest.mark.slow

pytest.importorskip("numba")

CHANGES = ("wire.values=change", *PRUNES)


@pytest.fixture
def federate(federate_in, tmp_path):
    return lambda *overrides, folder="run", names=PAIR, **how: federate_in(
        tmp_path / folder, *CHANGES, *overrides, names=names, **how
    )


@pytest.fixture(scope="module")
def whole(federate_in, tmp_path_factory):
    """Two clients, two rounds, nothing in between."""
    return federate_in(tmp_path_factory.mktemp("whole") / "run", *CHANGES, names=PAIR)


def test_both_ways_cost_a_fifth_of_float32_at_most_and_round_0_nothing(whole, undisturbed):
    assert sum(whole.row(0, name).bytes_down for name in PAIR) == 0
    for number in (1, 2):
        row, usual = whole.row(number, "birch"), undisturbed.row(number, "birch")
        assert 0 < row.bytes_up < 0.2 * usual.bytes_up
        assert 0 < row.bytes_down < 0.2 * usual.bytes_down
        assert row.pruned == usual.pruned


def test_rows_say_how_coarsely_changes_were_told_and_what_is_left_to_tell(whole):
    assert whole.row(0, "birch").step_up is None
    for number in (1, 2):
        row = whole.row(number, "birch")
        assert row.step_up > 0 < row.step_down
        assert 0 < row.owed < 1
        assert 0 < row.bytes_front < row.bytes_up + row.bytes_down


def test_what_was_not_told_yet_is_in_the_servers_model(whole):
    state = whole.state()
    owed = [np.abs(state.tensors[name] - sent).max() for name, sent in state.sent.items()]
    assert 0 < max(owed) < 0.1
    assert state.change


def memory_folder(file):
    """The client's memory that a file of it lies in."""
    client = file.parent
    return MemoryFolder(client.parents[1], client.parent.name, client.name)


def test_a_client_holds_what_the_server_sent_through_its_mask(whole):
    state = whole.state()
    (file,) = (whole.folder / "memory").glob("*/birch/reference-*")
    reference = memory_folder(file).reference(state.clients["birch"].delivered)
    masks = MaskFile(whole.folder / "clients" / "birch" / "mask.safetensors")
    for name, array in reference.items():
        mask = masks[name].numpy() if name in masks else True
        assert np.array_equal(array, np.where(mask, state.sent[name], 0)), name


@pytest.mark.parametrize(
    ("loss", "number", "phase"),
    [(forget, 1, "evaluate"), (forget, 2, "train"), (damage_memory, 2, "evaluate")],
)
def test_a_client_that_lost_its_memory_gets_the_whole_model_and_then_changes(
    loss, number, phase, federate
):
    app = interfering(loss, client="birch", round=number, phase=phase, times=1)
    run = federate("federation.rounds=3", app=app)
    assert [run.row(t, "birch").status for t in (1, 2, 3)] == ["merged"] * 3
    assert run.row(number, "birch").bytes_down > 8 * run.row(3, "birch").bytes_down


NOBODY_PRUNES = "method.pruning=none"


def model_bytes(run):
    """Of the whole model, in float32."""
    return sum(array.nbytes for array in run.state().sent.values())


class Away:
    """Cedar is out of reach when the server looks who is there for the third time, and on.

    Attributes:
        brought: by round and phase how many changes each message to cedar brought; None = no model,
            0 = the whole one.
    """

    def __init__(self, times, loss=None):
        self.brought, self.loss, calls = {}, loss, [0]

        class CedarIsAway(InProcessGrid):
            def get_node_ids(self):
                calls[0] += 1
                nodes = list(super().get_node_ids())
                return nodes[:2] if calls[0] - 3 in range(times) else nodes

        self.grid, self.back = CedarIsAway, 2 + times
        self.app = interfering(self.look, client="cedar", phase=None)

    def look(self, message, context, app):
        payload, task = read_payload(message.content), message.content["task"]
        came = (len(task.get("changes", ())) or 1) if is_change(payload) else 0
        key = (int(message.metadata.group_id), message.metadata.message_type)
        self.brought.setdefault(key, []).append(came if len(payload) else None)
        if self.loss and key == (1, "evaluate"):
            return self.loss(message, context, app)
        return app(message, context)


@pytest.mark.parametrize(
    ("times", "overrides", "comes"),
    [(1, (), 1), (2, (), 0), (2, (NOBODY_PRUNES,), 2), (3, (NOBODY_PRUNES,), 3)],
)
def test_who_was_away_gets_what_changed_and_where_clients_prune_after_two_rounds_the_whole_model(
    times, overrides, comes, federate
):
    away = Away(times)
    rounds = f"federation.rounds={away.back + 1}"
    run = federate(rounds, *overrides, grid=away.grid, app=away.app, names=NAMES)
    assert run.row(2, "cedar").status == "absent"
    assert run.row(away.back, "cedar").status == "merged"
    assert [away.brought[0, "evaluate"], away.brought[1, "train"]] == [[None], [None]]
    assert [away.brought[1, "evaluate"], away.brought[away.back, "evaluate"]] == [[1], [1]]
    assert away.brought[away.back, "train"] == [comes]
    if comes:
        assert run.row(away.back, "cedar").bytes_down < 0.2 * (comes + 1) * model_bytes(run)


def gone(file):
    file.unlink()


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-100])


def a_folder_in_its_place(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("spoil", [gone, cut_short, a_folder_in_its_place])
def test_a_change_that_is_not_kept_any_more_costs_the_whole_model(spoil, federate, monkeypatch):
    away, keep = Away(2), KeptChanges.keep

    def keep_and_spoil(changes, number, change, most):
        keep(changes, number, change, most)
        if number == 2:
            spoil(changes._file(number))

    monkeypatch.setattr(KeptChanges, "keep", keep_and_spoil)
    run = federate("federation.rounds=5", NOBODY_PRUNES, grid=away.grid, app=away.app, names=NAMES)
    assert run.row(away.back, "cedar").status == "merged"
    assert away.brought[away.back, "train"] == [0]


def test_a_run_that_is_stopped_keeps_the_changes_that_somebody_has_missed(federate):
    away = Away(2)

    def stop(message, context, app):
        if message.metadata.message_type == "train" and int(message.metadata.group_id) == away.back:
            raise KeyboardInterrupt
        return away.look(message, context, app)

    words = ("federation.rounds=5", NOBODY_PRUNES)
    stopping = interfering(stop, client="cedar", phase=None)
    with pytest.raises(KeyboardInterrupt):
        federate(*words, grid=away.grid, app=stopping, names=NAMES)
    run = federate(*words, app=away.app, names=NAMES)
    assert run.row(away.back, "cedar").status == "merged"
    assert away.brought[away.back, "train"] == [2]


def test_a_run_that_was_over_and_goes_on_sends_who_was_away_the_changes(federate):
    away = Away(2)
    federate("federation.rounds=3", NOBODY_PRUNES, grid=away.grid, app=away.app, names=NAMES)
    run = federate("federation.rounds=4", NOBODY_PRUNES, app=away.app, names=NAMES)
    assert [run.row(t, "cedar").status for t in (2, 3, 4)] == ["absent", "absent", "merged"]
    assert away.brought[4, "train"] == [2]


def lost_on_the_way(message, context, app):
    raise ConnectionError("nothing came")


def lost_on_the_way_back(message, context, app):
    app(message, context)
    raise ConnectionError("nothing went back")


@pytest.mark.parametrize(
    ("loss", "times", "brought"),
    [
        (lost_on_the_way, 0, [None, 1]),
        (lost_on_the_way_back, 0, [None]),
        (lost_on_the_way, 1, [2]),
        (lost_on_the_way_back, 1, [2]),
    ],
)
def test_a_model_that_nobody_answered_to_costs_the_changes_again_at_most(
    loss, times, brought, federate
):
    """Cedar's evaluation of round 1 is lost; then cedar trains at once, or is away for a round."""
    away = Away(times, loss)
    rounds = f"federation.rounds={away.back}"
    run = federate(rounds, NOBODY_PRUNES, grid=away.grid, app=away.app, names=NAMES)
    assert run.row(away.back, "cedar").status == "merged"
    assert away.brought[away.back, "train"] == brought
    assert away.brought[away.back, "evaluate"] == [1]
    state = run.state()
    (file,) = (run.folder / "memory").glob("*/cedar/reference-*")
    held = memory_folder(file).reference(state.clients["cedar"].delivered)
    assert all(np.array_equal(held[name], sent) for name, sent in state.sent.items())


@pytest.mark.parametrize("overrides", [(), (NOBODY_PRUNES,)])
def test_a_round_that_is_evaluated_once_more_is_told_by_name(overrides, federate):
    """The server's state was on disk, its rows of the last round were not, as after a power cut."""
    run, again = federate("federation.rounds=2", *overrides, names=NAMES), Away(0)
    rows = run.folder / "run.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(line for line in lines if json.loads(line)["round"] < 2))
    federate("federation.rounds=3", *overrides, app=again.app, names=NAMES)
    assert again.brought[2, "evaluate"] == [None]
    assert again.brought[3, "evaluate"] == [1]


def test_a_third_of_the_clients_a_round_are_never_sent_the_whole_model(federate):
    few = ("federation.fraction=0.34", "federation.min_clients=1", "federation.evaluate=next")
    run = federate("federation.rounds=8", NOBODY_PRUNES, *few, names=NAMES)
    rows = [run.row(number, name) for number in range(9) for name in NAMES]
    assert any(row.unasked for row in rows)
    first = {name: min(r.round for r in rows if r.client == name and r.bytes_up) for name in NAMES}
    assert max(first.values()) > 2, "everybody was there from the beginning"
    assert max(row.bytes_down for row in rows) < 0.6 * model_bytes(run)  # coded, it takes .8
    assert sum(row.bytes_down for row in rows) < 3 * model_bytes(run)


def spoil_reference(message, context, app):
    (file,) = memory_of(context).glob("reference-*")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))
    return app(message, context)


def test_a_damaged_reference_is_told_and_the_whole_model_comes_again(federate, whole):
    app = interfering(spoil_reference, client="birch", round=2, phase="train", times=1)
    run = federate(app=app)
    assert run.results == whole.results
    assert run.model == whole.model


def one_number(arrays):
    name = next(name for name in arrays if name.startswith("sent/"))
    arrays[name].reshape(-1)[0] += 0.5


def one_shape(arrays):
    name = next(name for name in arrays if name.startswith("sent/") and arrays[name].size > 1)
    arrays[name] = arrays[name].reshape(-1)[1:]


def the_last_change(arrays):
    arrays["change"][-5] ^= 1


@pytest.mark.parametrize(
    "damage", [one_number, one_shape, the_last_change, dict.popitem, dict.clear]
)
def test_damage_to_what_went_down_costs_the_whole_model_once(damage, federate, tmp_path):
    federate("federation.rounds=2")
    file = tmp_path / "run" / "downlink.safetensors"
    with safe_open(file, framework="np") as opened:
        check = opened.metadata()
    arrays = load_file(file)
    damage(arrays)
    save_file(arrays, file, metadata=check)
    with pytest.warns(UserWarning, match="damaged.*every client is sent the whole model"):
        run = federate("federation.rounds=4")
    assert [run.row(t, name).status for t in (3, 4) for name in PAIR] == ["merged"] * 4
    sent = [max(run.row(t, name).bytes_down for name in PAIR) for t in (3, 4)]
    assert sent[1] < sent[0] / 2


@pytest.mark.parametrize(
    ("number", "phase", "stop"),
    [
        (1, "train", finish_and_stop),
        (1, "evaluate", finish_and_stop),
        (2, "train", stop_by_hand),
        (2, "evaluate", finish_and_stop),
    ],
)
def test_a_run_stopped_anywhere_and_continued_equals_one_never_stopped(
    number, phase, stop, federate, whole
):
    app = interfering(stop, client="birch", round=number, phase=phase)
    with pytest.raises(KeyboardInterrupt):
        federate(app=app)
    continued = federate()
    assert continued.model == whole.model
    assert continued.results == whole.results


def test_a_box_that_makes_other_initial_weights_is_sent_them(federate, monkeypatch, whole):
    monkeypatch.setattr(incoming_model, "initial_model", lambda name, settings: None)
    run = federate()
    assert run.row(0, "birch").bytes_down > 100_000
    assert run.model == whole.model


def test_an_update_told_to_another_model_is_left_out_by_name(federate):
    def strange(message, context, app):
        (file,) = memory_of(context).glob("reference-*")
        memory, name = memory_folder(file), file.stem.removeprefix("reference-")
        held = memory.reference(name)
        memory.store_reference(name, {key: a + np.float32(0.01) for key, a in held.items()})
        return app(message, context)

    app = interfering(strange, client="birch", round=2)
    run = federate("federation.min_clients=1", app=app)
    row = run.row(2, "birch")
    assert row.status == "failed"
    assert "reference of" in row.failed
    assert run.row(2, "ash").status == "merged"


def test_rollback_and_changes_do_not_go_together(tiny_settings):
    with pytest.raises(SettingsError, match=r"wire.values=change with crr.rollback=true"):
        tiny_settings("wire.values=change", "crr.rollback=true")

"""Claims about what is lost or stopped: it goes on as if nothing had been."""

import pytest
from tiny_federation import (
    NAMES,
    ONE_ROUND,
    PAIR,
    PRUNES,
    forget,
    interfering,
    memory_of,
)

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.protocol.flower_messages import read_payload

pytestmark = pytest.mark.slow


@pytest.fixture
def federate(federate_in, tmp_path):
    """The tiny federation of two clients, if nothing else is said: half the time of three."""
    return lambda *overrides, folder="run", names=PAIR, **how: federate_in(
        tmp_path / folder, *overrides, names=names, **how
    )


# ---------------------------------------------------------------------------- lost memories


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


def test_a_real_run_goes_on_without_a_box_that_has_been_away_since(federate):
    real = (*PRUNES, "deployment=true", "federation.rounds=3")
    with pytest.raises(RunError, match="2 of 3 clients came"):
        federate(*real, names=NAMES, nodes=2)
    stopped = interfering(stop_by_hand, client="birch", round=2)
    with pytest.raises(KeyboardInterrupt):
        federate(*real, app=stopped, names=NAMES)
    run = federate(*real, names=NAMES, nodes=2)
    assert [run.row(number, "cedar").status for number in (1, 2, 3)] == [
        "merged",
        "absent",
        "absent",
    ]
    assert [run.row(3, name).status for name in PAIR] == ["merged", "merged"]


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

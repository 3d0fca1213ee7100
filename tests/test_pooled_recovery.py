"""Claims about crr.pooled over a whole federation: all clients decide by all clients' pictures."""

import pytest
from tiny_federation import NAMES, PAIR, interfering

from fedklpr_flwr.protocol.flower_messages import read_report

pytestmark = pytest.mark.slow

POOLED = (
    "crr.test=paired",
    "crr.pooled=true",
    "crr.level=0",
    "pruning.first_round=2",
    "federation.rounds=4",
)


def test_the_task_carries_the_sum_of_what_the_clients_saw_of_the_merged_model(federate):
    tasks = {}

    def listen(message, context, app):
        task = dict(message.content["task"].items())
        if message.metadata.message_type == "train":
            tasks[task["round"]] = tuple(task[f"pairs_{what}"] for what in WHAT)
        return app(message, context)

    run = federate(*POOLED, app=interfering(listen, phase=None))
    assert tasks[1] == tasks[2] == (0, 0, 0), "nothing had been pruned yet"
    for number in (3, 4):
        rows = [run.row(number - 1, client) for client in NAMES]
        sums = tuple(sum(getattr(row, f"pairs_{what}") for row in rows) for what in WHAT)
        assert tasks[number] == sums
        assert sums[2] > 0
        assert len({run.row(number, client).crr_statistic for client in NAMES}) == 1


WHAT = ("worse", "better", "compared")


def test_a_resumed_federation_remembers_what_was_counted(federate):
    whole = federate(*POOLED, names=PAIR, folder="whole")
    federate(*POOLED, "federation.rounds=2", names=PAIR, folder="stopped")
    resumed = federate(*POOLED, names=PAIR, folder="stopped")
    assert resumed.model == whole.model
    assert resumed.figures == whole.figures


def test_a_count_that_cannot_be_is_left_out(federate):
    def boasts(message, context, app):
        reply = app(message, context)
        reply.content["report"]["pairs_worse"] = 10**6
        return reply

    app = interfering(boasts, client="birch", round=2, phase="evaluate")
    run = federate(*POOLED, names=PAIR, app=app)
    assert "left out" in run.row(2, "birch").failed
    assert run.row(2, None).pairs_worse < 10**6


def test_without_pooling_an_evaluation_tells_no_counts(federate):
    told = set()

    def listen(message, context, app):
        reply = app(message, context)
        told.update(read_report(reply.content))
        return reply

    federate("crr.test=paired", names=PAIR, app=interfering(listen, phase="evaluate"))
    assert not any(key.startswith("pairs_") for key in told)


@pytest.mark.parametrize("test", ["paired", "sequential"])
def test_the_sequential_test_pools_as_well(federate, test):
    run = federate(*POOLED, f"crr.test={test}", names=PAIR)
    assert run.row(4, None).status == "2 merged"


def test_one_client_that_says_a_billion_does_not_decide_for_all(federate):
    tasks = {}

    def boasts(message, context, app):
        reply = app(message, context)
        if message.metadata.message_type == "train":
            tasks[message.content["task"]["round"]] = message.content["task"]["pairs_compared"]
        elif int(reply.content["report"]["pairs_compared"]):
            for what in ("better", "compared"):
                reply.content["report"][f"pairs_{what}"] = 10**9
            reply.content["report"]["pairs_worse"] = 0
        return reply

    run = federate(*POOLED, app=interfering(boasts, client="birch", phase=None))
    said = sorted(run.row(2, client).pairs_compared for client in NAMES)
    assert said[2] == 10**9
    assert tasks[3] == said[0] + said[1] + 3 * said[1]

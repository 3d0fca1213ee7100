"""Claims about `fedklpr plan`: it knows the run before it is run, or says why not."""

import json
from functools import partial

import pytest
from tiny_federation import NAMES, PERSONS, tiny_overrides

from fedklpr_flwr.commands.plan import ENGINE_STARTS, busy_line, duration, labels_line, run_seconds
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.planning.forecast import Forecast, Load
from fedklpr_flwr.planning.plan import Planned
from fedklpr_flwr.planning.probe import Probed

PRUNES = ("method.pruning=always", "pruning.first_round=1")


@pytest.fixture
def plan(typed):
    """`plan("seed=1", ...)`: exit status, what is printed, and the rest."""
    return partial(typed, "plan")


@pytest.mark.slow
def test_a_plan_knows_pictures_batches_and_bytes_of_the_run(plan, sites, federate):
    words = (*tiny_overrides(sites), *PRUNES, "federation.rounds=2")
    status, out, err = plan("experiment=smoke", *words, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert [client["name"] for client in found["clients"]] == list(NAMES)
    for client in found["clients"]:
        persons = PERSONS[client["name"]]
        assert client["pictures"] == {"train": 4 * persons, "query": 8, "gallery": 16}
        assert client["batches"] == 2
    assert found["total"]["hours_run"] > found["total"]["round_seconds"] / 3600 > 0

    run = federate(*PRUNES, "federation.rounds=2")
    sums = [run.row(number, None) for number in range(3)]
    sent = sum(row.bytes_up + row.bytes_down for row in sums) / 1e6
    assert found["total"]["mb_no_prune_held"] < sent < found["total"]["mb_all_prunes_held"]
    dense = sum(row.bytes_dense for row in sums) / 1e6
    assert found["total"]["mb_dense"] == pytest.approx(dense)


@pytest.mark.slow
def test_the_table_has_a_row_a_client_and_says_that_it_is_an_estimate(plan, sites):
    status, out, err = plan("experiment=smoke", *tiny_overrides(sites), "--cores", "1")
    assert status == 0, err
    assert "an estimate" in out
    for name in NAMES:
        assert f"\n {name} " in out
    for said in ("time: fedklpr run", "1 side by side", "measured here", "assumed", "memory:"):
        assert said in out
    assert "plan: counting pictures" in err  # plain lines where there is no terminal


def test_a_site_that_is_missing_is_named_before_anything_is_measured(plan, tmp_path):
    (tmp_path / "ward").mkdir()
    status, out, err = plan("experiment=real_small", f"data.root={tmp_path}")
    assert status == 1
    assert f"client viper needs the folder {tmp_path}/viper" in err
    assert out == ""


def test_a_plan_is_of_a_whole_run(plan, tmp_path):
    status, _, err = plan(f"resume={tmp_path}")
    assert status == 1
    assert "leave resume out" in err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(12.4, "12 s"), (150, "2.5 min"), (9000, "2.5 h"), (360_000, "4.2 days")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds, words):
    assert duration(seconds) == words


def planned(core, *overrides, pictures=9999):
    """A run of ten rounds of 40 steps of a second, measured with so much of a core."""
    settings = compose_settings(
        "drawn", ("training.epochs=1", "training.max_batches=40", *overrides)
    )
    nothing = dict.fromkeys(
        ("picture", "prune", "train_message", "evaluate_message", "reestimate", "clustering"), 0.0
    )
    probed = Probed(
        **nothing,
        **dict.fromkeys(("ranking", "encode", "decode", "clustering_mb"), 0.0),
        step=1.0,
        sizes=((1.0, 1, 1, 1),),
        dense_bytes=4,
        feature_dim=2,
        peak_mb=100.0,
        gpu_mb=None,
        core=core,
        start=5.0,
    )
    forecast = Forecast(settings, probed, [Load("gate", pictures, 0, ((1, 1),))], 1)
    return Planned(settings, forecast, forecast, 1, None, 0.0, True)


def test_a_busy_machine_is_told_with_what_a_quiet_one_would_take():
    assert run_seconds(planned(0.25)) == 5 * ENGINE_STARTS + 400
    line = busy_line(planned(0.25))
    assert "25% of a core" in line
    assert f"at most about {duration((5 * ENGINE_STARTS + 400) / 4)}" in line
    assert busy_line(planned(0.95)) == ""
    assert busy_line(planned(0.25, "training.threads=2")) == ""


def test_a_site_with_fewer_pictures_than_its_neighbours_need_is_named():
    line = labels_line(planned(1.0, pictures=30))
    assert "gate (30 pictures) may fall into one cluster, with labels.k1=20" in line
    assert labels_line(planned(1.0, "labels.k1=10", pictures=30)) == ""
    assert "k1_across=20" in labels_line(planned(1.0, "labels.neighbours=by_camera", pictures=30))
    assert labels_line(planned(1.0, "labels.source=identities", pictures=30)) == ""

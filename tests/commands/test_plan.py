"""Claims about `fedklpr plan`: it knows the run before it is run, or says why not."""

import json
import sys

import pytest
from tiny_federation import NAMES, PERSONS, tiny_overrides

from fedklpr_flwr.commands.__main__ import main
from fedklpr_flwr.commands.plan import duration

PRUNES = ("method.pruning=always", "pruning.first_round=1")


@pytest.fixture
def plan(monkeypatch, capsys):
    """`plan("seed=1", ...)`: exit status, what is printed, and the rest."""

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["fedklpr", "plan", *words])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return typed


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
    # Trained weights are sent as differences, which are a little smaller than the plan's.
    assert sent < found["total"]["mb_all_prunes_held"]
    assert sent < found["total"]["mb_no_prune_held"] < 1.2 * sent
    dense = sum(row.bytes_dense for row in sums) / 1e6
    assert found["total"]["mb_dense"] == pytest.approx(dense)


@pytest.mark.slow
def test_the_table_has_a_row_a_client_and_says_that_it_is_an_estimate(plan, sites):
    status, out, err = plan("experiment=smoke", *tiny_overrides(sites), "--cores", "1")
    assert status == 0, err
    assert "an estimate" in out
    for name in NAMES:
        assert f"│ {name}" in out
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

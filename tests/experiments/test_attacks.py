"""Claims about experiments/attacks.py: what is sent, who is compared, and what the table says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.attacks import (
    AGAINST,
    HOSTILE,
    RUNS,
    honest_rank1,
    spoilt,
    table,
    without_hostile,
)
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.runs.rows import Row, append_rows, read_rows
from fedklpr_flwr.server.update_checks import LARGEST_WEIGHT

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "attacks.py"

RECEIVED = {
    "conv.weight": np.array([[1.0, -1.0], [3.0, -3.0]], np.float32),
    "bn.running_var": np.array([0.5, 2.0], np.float32),
}
TRAINED = {
    "conv.weight": torch.tensor([[1.5, -1.0], [3.0, -5.0]]),
    "bn.running_var": torch.tensor([1.0, 1.0]),
}


# ---------------------------------------------------------------------------- what is sent


def test_noise_is_the_received_model_and_noise_as_large_as_its_weights():
    received = {"conv.weight": np.full((200, 200), 4.0, np.float32)}
    received["conv.weight"][::2] = 0.0  # half 0, half 4: of deviation 2
    learnt = {"conv.weight": torch.zeros(200, 200)}
    noise = spoilt("noise", learnt, received, 0)["conv.weight"].numpy() - received["conv.weight"]
    assert noise.std() == pytest.approx(2.0, rel=0.02)
    assert abs(noise.mean()) < 0.05


def test_noise_is_what_its_seed_says():
    first, again, other = (
        spoilt("noise", TRAINED, RECEIVED, seed)["conv.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_huge_is_a_thousand_times_what_was_learnt_as_far_as_a_server_takes_it():
    sent = spoilt("huge", TRAINED, RECEIVED, 0)["conv.weight"]
    assert torch.equal(sent, torch.tensor([[501.0, -1.0], [3.0, -2003.0]]))
    further = {**TRAINED, "conv.weight": TRAINED["conv.weight"] * 1e3}
    assert spoilt("huge", further, RECEIVED, 0)["conv.weight"].abs().max() < LARGEST_WEIGHT


def test_sign_flipped_is_the_opposite_of_what_was_learnt_three_times():
    sent = spoilt("sign_flipped", TRAINED, RECEIVED, 0)["conv.weight"]
    assert torch.equal(sent, torch.tensor([[-0.5, -1.0], [3.0, 3.0]]))


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in RUNS.values() if kind}))
def test_variances_stay_positive_and_every_tensor_keeps_its_shape(kind):
    sent = spoilt(kind, TRAINED, RECEIVED, 0)
    assert (sent["bn.running_var"] >= 0).all()
    assert {name: value.shape for name, value in sent.items()} == {
        name: value.shape for name, value in TRAINED.items()
    }


# ---------------------------------------------------------------------------- who is compared


def test_the_federation_without_the_two_is_the_drawn_one_but_for_them():
    whole = compose_settings("drawn").data.clients
    left = compose_settings("drawn", (without_hostile(),)).data.clients
    assert {client.name for client in whole} - {client.name for client in left} == {*HOSTILE}
    assert list(left) == [client for client in whole if client.name not in HOSTILE]


def test_every_attack_has_runs_to_compare_that_differ_in_the_two_alone():
    for attack, base in AGAINST.items():
        (kind, overrides), (nobody, same) = RUNS[attack], RUNS[base]
        assert (kind is None, nobody) == (False, None)
        assert overrides == same


def finished(folder, rank1, rounds=2):
    """A run's rows; the two hostile clients and the initial model do better than anybody."""
    folder.mkdir(parents=True)
    for number in range(rounds + 1):
        value = rank1 if number else 0.9
        rows = [Row(number, name, rank1=value + d) for name, d in (("gate", 0.1), ("hall", -0.1))]
        rows += [Row(number, name, rank1=1.0) for name in HOSTILE]
        append_rows(folder / "run.jsonl", [*rows, Row(number, None, rank1=1.0)])


def test_the_honest_clients_mean_of_the_last_round_counts(tmp_path):
    finished(tmp_path / "run", 0.5)
    assert honest_rank1(tmp_path / "run", 2) == pytest.approx(0.5)
    assert honest_rank1(tmp_path / "run", 3) is None
    assert honest_rank1(tmp_path / "nothing", 2) is None


def test_an_honest_client_without_a_score_counts_as_none_found(tmp_path):
    (tmp_path / "run").mkdir()
    append_rows(tmp_path / "run" / "run.jsonl", [Row(1, "gate", rank1=0.8), Row(1, "hall")])
    assert honest_rank1(tmp_path / "run", 1) == pytest.approx(0.4)


# ---------------------------------------------------------------------------- the table


def all_runs(out, lost):
    """Every run of two seeds; each attack costs as much as it says."""
    for name in RUNS:
        for seed in (0, 1):
            finished(out / f"{name}-s{seed}", 0.6 - lost.get(name, 0.0) * (1 + seed))


def test_the_table_tells_what_the_honest_lost_in_points(tmp_path):
    attacks = list(AGAINST)
    all_runs(tmp_path, {attacks[0]: 0.01, attacks[-1]: 0.03})
    text, results = table(tmp_path, [0, 1], 2)
    lines = text.splitlines()[2:]
    assert len(lines) == len(results) == len(attacks)
    assert lines[0] == f"| {attacks[0]} | 0.600 | 0.585 | 1.5 ± 0.7 | yes |"
    assert lines[-1] == f"| {attacks[-1]} | 0.600 | 0.555 | 4.5 ± 2.1 | no |"
    assert [result["ok"] for result in results] == [True] * (len(attacks) - 1) + [False]
    assert results[0]["lost"] == pytest.approx([0.01, 0.02])


def test_an_attack_whose_runs_are_not_all_whole_is_not_borne(tmp_path):
    attack, base = next(iter(AGAINST.items()))
    all_runs(tmp_path, {})
    (tmp_path / f"{base}-s1" / "run.jsonl").unlink()
    text, results = table(tmp_path, [0, 1], 2)
    assert f"| {attack} | not whole | | | |" in text
    (one,) = [result for result in results if result["attack"] == attack]
    assert (one["ok"], one["lost"]) == (False, None)
    others = [result["ok"] for result in results if AGAINST[result["attack"]] != base]
    assert all(others)


# ---------------------------------------------------------------------------- a run


def rows_of_a_small_run(kind, out):
    """The rows of one small round with one hostile client of three, `street`."""
    small = (
        "model.height=32", "model.width=16", "training.epochs=1", "training.max_batches=1",
        "training.persons=4", "training.pictures=2",
        'data.clients=[{name: street, reader: "drawn:street", folder: null},'
        '{name: hall, reader: "drawn:hall", folder: null},'
        '{name: lawn, reader: "drawn:lawn", folder: null}]',
    )  # fmt: skip
    command = [sys.executable, SCRIPT, "--out", out, "--rounds", "1", "--one", kind, "0"]
    subprocess.run([*command, *small], check=True, capture_output=True)
    rows = read_rows(out / f"{kind}-s0" / "run.jsonl")
    return {row.client: row for row in rows if row.round and row.client}


@pytest.mark.slow
def test_a_hostile_clients_noise_reaches_the_server_and_is_held_back(tmp_path):
    rows = rows_of_a_small_run("noise", tmp_path)
    assert {row.status for row in rows.values()} == {"merged"}
    assert rows["street"].divergence == 1e9
    assert rows["street"].shortened < 0.1
    assert rows["hall"].shortened is None


@pytest.mark.slow
def test_a_hostile_clients_huge_update_reaches_the_server_and_is_left_out(tmp_path):
    rows = rows_of_a_small_run("huge", tmp_path)
    assert {name: row.status for name, row in rows.items()} == {
        "street": "failed", "hall": "merged", "lawn": "merged"
    }  # fmt: skip
    assert "length of the weights' change" in rows["street"].failed

"""Claims about real boxes: the simulation's model, and bytes that the interface confirms."""

import pytest
from office import alone, bundle_of_the_tree, can_be_alone
from tiny_federation import run_tiny_federation, sha256_of, tiny_overrides

from fedklpr_flwr.runs.rows import read_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_be_alone(), reason="no network namespace of its own to be had"),
]

NAMES = ("ash", "birch")
MORE = (
    "federation.rounds=1",
    "pruning.first_round=1",
    "pruning.when=after_training",
    "method.pruning=always",
    "deployment=true",
    "federation.wait_seconds=60",
)


def test_a_deployment_ends_with_the_simulations_model_and_its_bytes_are_on_the_wire(
    sites, tmp_path
):
    words = ("experiment=smoke", *tiny_overrides(sites, NAMES), *MORE)
    folder = tmp_path / "office"
    counted = alone(folder, words, {name: sites / name for name in NAMES})["loopback"]
    simulated = run_tiny_federation(sites, tmp_path / "simulated", *MORE, names=NAMES)
    assert sha256_of(folder / "run" / "global.safetensors") == simulated.model
    rows = [row for row in read_rows(folder / "run" / "run.jsonl") if row.client is None]
    assert rows[-1].pruned > 0
    assert [(r.bytes_up, r.bytes_down) for r in rows] == [
        (r.bytes_up, r.bytes_down) for r in simulated.rows if r.client is None
    ]
    payload = sum(row.bytes_up + row.bytes_down for row in rows)
    said = sum(row.bytes_message_up + row.bytes_message_down for row in rows)
    assert payload < said < 1.05 * payload
    # Each message crosses three hops on one machine: server app, SuperLink, SuperNode, client app.
    # The app itself travels up, to the server app, to each of two nodes and there to each of four
    # messages' processes, twelve times at most. The rest is polls, heartbeats and log lines.
    assert 3 * said < counted < 3 * said + 12 * len(bundle_of_the_tree()) + 1e6

"""Claims about fedklpr_flwr.server_app: a run's status tells the truth, whatever happens."""

import json
import shlex

import pytest
from flwr.app import Context, RecordDict
from tiny_federation import interfering, sha256_of, tiny_overrides

from fedklpr_flwr import client_app, server_app
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.command_line import override
from fedklpr_flwr.launch.in_process_grid import InProcessGrid


@pytest.fixture
def serve(sites, tmp_path):
    """`serve("kl.weight=0", app=...)`: Flower's own call of the server app."""

    def run(*overrides, app=client_app.app):
        chosen = (
            *tiny_overrides(sites, ["ash", "birch"]),
            "federation.rounds=1",
            override("run.dir", tmp_path / "run"),
            *overrides,
        )
        run_config = {"experiment": "smoke", "overrides": shlex.join(chosen)}
        grid = InProcessGrid(app, run_config, [{"partition-id": 0}, {"partition-id": 1}])
        server_app.main(grid, Context(1, 0, {}, RecordDict(), run_config))

    return run


def status(tmp_path):
    said = json.loads((tmp_path / "run" / "status.json").read_text())
    return said["status"], said["message"]


def test_a_good_run_says_finished(serve, tmp_path):
    serve()
    assert status(tmp_path) == ("finished", "")
    assert not (tmp_path / "run" / "payloads").exists()


def test_whatever_starts_a_run_below_runs_latest_points_at_it(serve, tmp_path):
    serve(override("run.dir", tmp_path / "runs" / "by-hand"))
    assert (tmp_path / "runs" / "latest").resolve() == tmp_path / "runs" / "by-hand"


def test_a_run_that_stops_says_failed_and_why(serve, tmp_path):
    def fails(message, context, app):
        raise RuntimeError("no disk")

    with pytest.raises(RunError):
        serve(app=interfering(fails, client="ash"))
    said, why = status(tmp_path)
    assert said == "failed"
    assert "ash: RuntimeError: no disk" in why
    assert f"resume={tmp_path / 'run'}" in why


def test_a_fault_of_the_program_is_said_with_its_kind(serve, tmp_path):
    with pytest.raises(AttributeError):
        serve(app=lambda message, context: None)
    said, why = status(tmp_path)
    assert said == "failed"
    assert why.startswith("AttributeError: ")


def test_a_run_stopped_by_hand_says_so_and_can_go_on(serve, tmp_path):
    def stop(message, context, app):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(app=interfering(stop, client="ash"))
    assert status(tmp_path) == ("failed", "stopped by hand")
    serve(override("resume", tmp_path / "run"))
    assert status(tmp_path) == ("finished", "")


def test_a_finished_run_is_not_run_over(serve, tmp_path):
    serve()
    model = sha256_of(tmp_path / "run" / "global.safetensors")
    with pytest.raises(RunError, match=f"go on with resume={tmp_path / 'run'}"):
        serve("seed=1")
    assert sha256_of(tmp_path / "run" / "global.safetensors") == model
    assert status(tmp_path) == ("finished", ""), "a refused run spoilt a good one's status"

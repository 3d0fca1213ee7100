"""Claims about fedklpr_flwr.commands: what a user types, sees, and finds in the exit status."""

import subprocess
import sys

import pytest
from tiny_federation import tiny_overrides

from fedklpr_flwr.commands import progress_bars as progress
from fedklpr_flwr.commands.__main__ import sentence
from fedklpr_flwr.commands.progress_bars import steps, tracked
from fedklpr_flwr.errors import SettingsError


@pytest.fixture
def fedklpr(typed):
    """`fedklpr("simulate", ...)`: the command line; gives exit status, stdout and stderr."""
    return typed


def tiny(sites, *overrides):
    return ["experiment=smoke", *tiny_overrides(sites, ["ash", "birch"]), *overrides]


@pytest.mark.slow
def test_simulate_runs_a_federation_and_shows_its_end(fedklpr, sites, tmp_path):
    runs = tmp_path / "runs"
    status, out, _ = fedklpr("simulate", *tiny(sites, f"run.dir={runs}/one", "federation.rounds=1"))
    assert status == 0
    for part in (f"run folder {runs}/one", "round  1/1", "Rank-1", "ash", "birch", "less"):
        assert part in out
    assert (runs / "latest").resolve() == runs / "one"
    status, _, err = fedklpr("simulate", *tiny(sites, f"run.dir={runs}/one"))
    assert status == 1
    assert f"resume={runs}/one" in err
    status, out, _ = fedklpr("simulate", f"resume={runs}/one", "federation.rounds=2")
    assert status == 0
    assert "round  2/2" in out
    assert "round  1/" not in out


@pytest.mark.parametrize("command", ["run", "simulate"])
@pytest.mark.parametrize(
    "wrong", ["experiment=drwan", "sed=1", "pruning.rate=7", "data.root=/nowhere", "rubbish"]
)
def test_bad_input_is_one_line_on_stderr_and_exit_status_1(command, wrong, fedklpr, sites):
    words = [word for word in tiny(sites) if wrong.partition("=")[0] != word.partition("=")[0]]
    status, out, err = fedklpr(command, *words, wrong)
    assert status == 1
    assert out == ""
    assert err.startswith("fedklpr: ")
    assert err.count("\n") == 1
    assert wrong.partition("=")[2] in err


@pytest.mark.parametrize(
    "words", [("--debug", "simulate", "rubbish"), ("simulate", "rubbish", "--debug")]
)
def test_debug_shows_where_a_fault_came_from_wherever_it_stands(fedklpr, words):
    with pytest.raises(SettingsError):
        fedklpr(*words)
    assert fedklpr("simulate", "rubbish")[0] == 1, "the next command is told nothing of it"


def test_debug_may_be_an_environment_variable(fedklpr, monkeypatch):
    monkeypatch.setenv("FEDKLPR_DEBUG", "1")
    with pytest.raises(SettingsError):
        fedklpr("simulate", "rubbish")


def test_a_fault_of_ours_is_one_sentence_that_says_so(fedklpr, monkeypatch):
    def broken(arguments, **settings):
        raise KeyError("round\n7")

    monkeypatch.setattr("fedklpr_flwr.commands.simulate.prepare", broken)
    status, _, err = fedklpr("simulate")
    assert status == 1
    assert err.startswith("fedklpr: this is a fault of ours (KeyError: ")
    assert err.count("\n") == 1
    assert "--debug or FEDKLPR_DEBUG=1 shows where" in err
    with pytest.raises(KeyError):
        fedklpr("simulate", "--debug")


def test_a_file_that_the_system_refuses_is_named_with_what_to_do():
    said = sentence(OSError(28, "No space left on device", "/runs/x"))
    assert said.startswith("/runs/x: No space left on device; make room there")


def test_a_bar_counts_steps_and_leaves_plain_output_alone(capsys):
    with steps("rounds", 2) as done:
        print("round 1")
        done()
    assert list(tracked("sites", ["ash", "birch"], 2)) == ["ash", "birch"]
    said = capsys.readouterr()
    assert (said.out, said.err) == ("round 1\n", ""), "ten seconds have not passed"


def test_without_a_terminal_a_line_now_and_then_tells_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert list(tracked("sites", ["ash", "birch"], 2)) == ["ash", "birch"]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "sites: 1 of 2, about 0 s left",
        "sites: 2 of 2, about 0 s left",
    ]


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["simulate", "-h"], ["data", "-h"]]
)
def test_help_is_there_for_every_command(words, fedklpr):
    status, out, _ = fedklpr(*words)
    assert status == 0
    assert "Usage" in out


def test_a_command_that_does_not_exist_is_a_usage_error(fedklpr):
    assert fedklpr("fly")[0] == 2


def test_a_client_that_cannot_read_its_pictures_stops_the_run_with_its_reason(
    fedklpr, sites, tmp_path
):
    broken = tmp_path / "sites"
    for name in ("ash", "birch"):
        (broken / name).mkdir(parents=True)
    words = [word for word in tiny(sites, f"run.dir={tmp_path}/run") if "data.root" not in word]
    status, _, err = fedklpr("simulate", *words, f"data.root={broken}")
    assert status == 1
    assert "ash" in err
    assert "empty folder" in err


def test_a_current_folder_that_was_deleted_is_said_before_torch_ends_the_process(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = [sys.executable, "-m", "fedklpr_flwr.commands", "list"]
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command],
        cwd=gone,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("fedklpr: the current folder has been deleted; cd to one")
    assert len(done.stderr.splitlines()) == 1


def test_what_looks_at_no_pictures_does_not_wait_for_torch():
    program = (
        "import sys; from fedklpr_flwr.commands.__main__ import command_line\n"
        "for name in ('list', 'data', 'deploy', 'compare'): command_line([name])\n"
        "print(*{'torch', 'flwr', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr

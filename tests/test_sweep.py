"""Claims about fedklpr_flwr.sweep: many runs, each in its folder, with a true exit status."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_federation import tiny_overrides

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.sweep_job import BOOK, JobLine, read_book
from fedklpr_flwr.sweep import own_overrides, read_words, run_sweep, time_left, values_of


def test_the_sweeps_own_words_are_taken_out_and_the_rest_is_hydras(tmp_path):
    sweep = read_words(
        ["-m", "seed=0,1", f"sweep.dir={tmp_path}", "sweep.resume=TRUE", "sweep.transport=simulate"]
    )
    assert sweep.words == ("-m", "seed=0,1")
    assert (sweep.folder, sweep.resume, sweep.transport) == (tmp_path, True, "simulate")
    assert sweep.hydra_words[:3] == ["-m", "seed=0,1", f"sweep.dir='{tmp_path}'"]
    assert own_overrides(["seed=0", "sweep.resume=true"]) == ["seed=0"]


def test_a_sweep_without_a_name_has_the_same_folder_whenever_it_is_repeated():
    one = read_words(["-m", "seed=0,1", "method=fedavg"])
    again = read_words(["method=fedavg", "seed=0,1", "sweep.resume=true", "hydra/launcher=joblib"])
    assert one.folder == again.folder
    assert one.folder.parent.parts[-2:] == ("runs", "sweeps")
    assert one.folder != read_words(["-m", "seed=0,2", "method=fedavg"]).folder


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("run.dir=x", "sweep.dir=FOLDER"),
        ("resume=x", "sweep.resume=true"),
        ("hydra.sweep.dir=x", "sweep.dir=FOLDER"),
        ("hydra.sweep.subdir=x", "named by its overrides"),
        ("sweep.transprt=run", "sweep.dir, sweep.resume, sweep.transport"),
        ("sweep.resume=maybe", "true or false"),
        ("sweep.transport=ray", "run, simulate"),
    ],
)
def test_words_that_cannot_be_are_refused_with_what_to_do(word, said):
    with pytest.raises(SettingsError, match=said):
        read_words(["-m", "seed=0", word])


def test_a_folder_that_holds_a_sweep_is_not_written_into_unasked(tmp_path):
    (tmp_path / BOOK).write_text("")
    with pytest.raises(RunError, match=r"sweep\.resume=true"):
        run_sweep(read_words(["-m", "seed=0", f"sweep.dir={tmp_path}"]))


def test_the_command_that_goes_on_reads_back_as_the_same_sweep(tmp_path):
    sweep = read_words(["-m", "a='b c',d", f"sweep.dir={tmp_path}/with space"])
    words = shlex.split(sweep.repeat)
    assert words[:4] == ["python", "-m", "fedklpr_flwr.sweep", "-m"]
    again = read_words(words[3:])
    assert again.folder == sweep.folder
    assert again.resume
    assert again.words[1:] == sweep.words[1:]


def test_the_jobs_of_a_sweep_are_counted_before_it_starts():
    assert read_words(["-m", "seed=0,1,2", "method=fedavg,fedprox", "kl.weight=0"]).jobs == 6
    assert read_words(["-m", "seed=range(0,4)"]).jobs == 4
    assert read_words(["-m", "seed=0"]).jobs == 1
    assert (
        read_words(["-m", "seed=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]).jobs == 1
    )


def test_the_time_that_is_left_is_the_mean_of_jobs_that_took_time():
    def line(status, seconds=0.0):
        return JobLine(f"{status}-{seconds}", status, [], seconds)

    lines = [line("finished", 120.0), line("failed", 240.0), line("kept"), line("started")]
    assert time_left(lines, 6) == "3 of 6 jobs are left, about 9 min 0 s one by one"
    assert time_left(lines, 3) == ""
    assert time_left([line("kept")], 6) == ""


def test_a_swept_word_becomes_words_of_one_value_as_hydra_spells_them():
    assert values_of(["-m", "seed=0,1", "a.b=false", "c='x y'"]) == [
        ["seed=0", "seed=1"],
        ["a.b=False"],
        ["c='x y'"],
    ]
    with pytest.raises(SettingsError, match=r"KEY=VALUE .* got 'no override'"):
        values_of(["no override"])


def test_a_runs_settings_know_nothing_of_sweeps():
    assert not hasattr(compose_settings("smoke"), "sweep")


def command(sites, folder, *words):
    tiny = [*tiny_overrides(sites, ["ash", "birch"]), "federation.rounds=1"]
    where = [f"sweep.dir={folder}", "sweep.transport=simulate"]
    first = ["-m", "fedklpr_flwr.sweep", "-m", "experiment=smoke"]
    return [sys.executable, *first, *tiny, *where, *map(str, words)]


def swept(sites, folder, *words):
    return subprocess.run(
        command(sites, folder, *words), capture_output=True, text=True, timeout=600
    )


def statuses(folder):
    return {line.overrides[-1]: line.status for line in read_book(folder / BOOK)}


@pytest.mark.slow
def test_a_failed_job_does_not_stop_the_rest_and_a_finished_one_is_not_run_again(sites, tmp_path):
    folder = tmp_path / "a sweep"
    first = swept(sites, folder, "pruning.target=0.5", "seed=0,x,1")
    assert first.returncode == 1, first.stdout + first.stderr
    assert statuses(folder) == {"seed=0": "finished", "seed=x": "failed", "seed=1": "finished"}
    assert "seed='x': expected a whole number" in first.stdout
    assert "2 of 3 jobs are whole" in first.stdout
    models = {path: path.stat().st_mtime_ns for path in folder.glob("*/global.safetensors")}
    assert len(models) == 2
    runs = [json.loads(path.read_text()) for path in folder.glob("*/status.json")]
    assert [run["status"] for run in runs] == ["finished", "finished"]
    again = swept(sites, folder, "pruning.target=0.5", "seed=0,x,1", "sweep.resume=true")
    assert again.returncode == 1
    assert statuses(folder) == {"seed=0": "kept", "seed=x": "failed", "seed=1": "kept"}
    assert models == {path: path.stat().st_mtime_ns for path in folder.glob("*/global.safetensors")}


@pytest.mark.slow
def test_ctrl_c_ends_the_running_job_and_the_sweep_goes_on_where_it_stopped(sites, tmp_path):
    folder = tmp_path / "sweep"
    words = ["federation.rounds=4", "seed=0,1"]
    process = subprocess.Popen(
        command(sites, folder, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = ""
    for line in process.stdout:
        said += line
        if "round  2/4" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130, said
    assert "stopped; go on with:" in said
    assert statuses(folder) == {"seed=0": "stopped"}
    again = swept(sites, folder, *words, "sweep.resume=true")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "round  2/4" in again.stdout
    assert "job 0: round  1/4" not in again.stdout, "the first job began anew"
    assert statuses(folder) == {"seed=0": "finished", "seed=1": "finished"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,1", "method=fedklpr,fedklprr"], "method=fedklprr does not exist (did you mean "),
        (["experiment=nosuch"], "experiment=nosuch does not exist; there are: drawn, "),
        (["pruning.rat=0.1,0.2"], "there is no key 'rat' in pruning (did you mean rate?)"),
        (["hydra/launcher=nosuch"], "hydra/launcher=nosuch: "),
        (["seed=0", "rubbish"], "rubbish"),
    ],
)
def test_what_hydra_refuses_is_one_sentence_before_any_job_starts(sites, tmp_path, words, said):
    ran = swept(sites, tmp_path / "sweep", *words)
    assert ran.returncode == 1
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("fedklpr_flwr.sweep: ")
    assert said in line
    assert not (tmp_path / "sweep" / BOOK).exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a promise of Linux")
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_killed_sweep_takes_its_running_job_with_it(sites, tmp_path, launcher):
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path / "sweep"
    words = ["federation.rounds=200", "seed=0", f"hydra/launcher={launcher}"]
    process = subprocess.Popen(
        command(sites, folder, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert any("round  1/200" in line for line in process.stdout)
    (status,) = folder.glob("*/status.json")
    job = json.loads(status.read_text())["pid"]
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while Path(f"/proc/{job}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    if Path(f"/proc/{job}").exists():
        os.kill(job, signal.SIGKILL)
        pytest.fail("the job goes on without its sweep")
    assert json.loads(status.read_text())["status"] == "failed"


@pytest.mark.slow
def test_jobs_run_side_by_side_with_hydras_joblib_launcher(sites, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path / "sweep"
    ran = swept(sites, folder, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,x,1")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert statuses(folder) == {"seed=0": "finished", "seed=x": "failed", "seed=1": "finished"}


@pytest.mark.slow
def test_a_job_is_one_run_on_flowers_engine(sites, tmp_path):
    folder = tmp_path / "sweep"
    words = ["federation.wait_seconds=60", "sweep.transport=run", "seed=3"]
    ran = swept(sites, folder, *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (run,) = [path.parent for path in folder.glob("*/run.jsonl")]
    assert run.name.endswith("-" + run.name[-8:])
    assert (run / "flower.log").exists()
    assert "1 of 1 jobs are whole" in ran.stdout

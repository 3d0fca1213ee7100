"""Claims about experiments/reproduce.py: what it would run, and that it makes the tables."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_federation import tiny_overrides

from experiments.reproduce import (
    LINES,
    TABLES,
    expected_time,
    keep_results,
    parser,
    plans_of,
    reproduce,
)
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.sweep_job import BOOK, JobLine, append_line, read_book
from fedklpr_flwr.runs.rows import Row, append_rows
from fedklpr_flwr.system.git_commit import code_commit

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "reproduce.py"


def plans(*words):
    return plans_of(parser().parse_intermixed_args(list(words)))


def book_of(plan, *jobs, common=None):
    """Say in a plan's folder that jobs are finished, with the plan's own words or others."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        words = [*(plan.common if common is None else common), *job.split()]
        append_line(plan.folder / BOOK, JobLine(" ".join(words), "finished", words))


@pytest.mark.slow
def test_every_method_of_the_comparison_has_a_line_that_composes():
    folder = SCRIPT.parents[1] / "conf" / "method"
    methods = {file.stem for file in folder.glob("*.yaml")}
    assert {words[0].removeprefix("method=") for words in LINES.values()} == methods
    for words in LINES.values():
        compose_settings("drawn", words)


def test_without_a_word_there_are_two_tables_and_the_one_that_decides_has_five_seeds():
    ten, twenty = plans()
    assert (ten.rounds, ten.seeds, len(ten.jobs)) == (10, (0, 1, 2), 3 * 14)
    assert (twenty.rounds, twenty.lines, twenty.seeds) == (20, TABLES[20], (0, 1, 2, 3, 4))
    assert ten.sweeps == [
        (
            "experiment=drawn",
            "federation.rounds=10",
            "seed=0,1,2",
            "method=fedklpr,fedklprplus,fedavg,fedprox,fedpav,fedcapr,fedureid,feducc,feduccplus,lotteryfl,"
            "subfedavg,local_only,centralised",
        ),
        (
            "experiment=drawn",
            "federation.rounds=10",
            "seed=0,1,2",
            "method=lotteryfl",
            "pruning.rewind=false",
        ),
    ]


def test_rounds_methods_seeds_and_overrides_choose():
    (plan,) = plans("--rounds", "3", "--seeds", "7", "--methods", "fedavg", "--", "kl.weight=0")
    assert list(plan.jobs) == ["method=fedavg seed=7"]
    assert plan.common == ("experiment=drawn", "federation.rounds=3", "kl.weight=0")
    with pytest.raises(SettingsError, match="fedavgg does not exist; there are: fedklpr"):
        plans("--methods", "fedavgg")
    with pytest.raises(SettingsError, match="KEY=VALUE"):
        plans("rubbish")
    with pytest.raises(SettingsError, match=r"one value, got kl\.weight=0, kl\.weight=1"):
        plans("kl.weight=0,1")


def test_single_rows_of_a_study_are_chosen():
    words = ["--only", "drawn20/fedklpr", "real_small12/fedavg", "drawn20/lotteryfl_keep"]
    drawn, real = plans(*words, "--seeds", "3")
    assert (drawn.lines, drawn.seeds) == (("fedklpr", "lotteryfl_keep"), (3,))
    assert drawn.common[:2] == ("experiment=drawn", "federation.rounds=20")
    assert real.common[:2] == ("experiment=real_small", "federation.rounds=12")
    with pytest.raises(SettingsError, match=r"drawn21/fedavg does not exist.*drawn20"):
        plans("--only", "drawn21/fedavg")


def test_raw_results_are_kept_by_study_method_and_seed(tmp_path):
    chosen = ["--methods", "fedavg", "lotteryfl_keep", "--seeds", "4", "--out", str(tmp_path)]
    (plan,) = plans("--rounds", "3", *chosen)
    book_of(plan, *plan.jobs)
    for line in read_book(plan.folder / BOOK):
        (plan.folder / line.job).mkdir(parents=True)
        append_rows(plan.folder / line.job / "run.jsonl", [Row(1, None, rank1=0.5, map=0.25)])
    study = keep_results(plan, tmp_path / "results")
    assert study == tmp_path / "results" / "drawn3"
    assert sorted(file.name for file in study.iterdir()) == [
        "fedavg-seed4.jsonl.gz",
        "lotteryfl_norewind-seed4.jsonl.gz",
    ]
    assert "| fedavg | 4 | 0.500 |" in (plan.folder / "paired.md").read_text()


def test_the_time_is_said_for_what_is_left(tmp_path):
    (plan,) = plans("--rounds", "10", "--methods", "fedavg", "fedprox", "--out", str(tmp_path))
    assert "6 of 6 runs are left, about 150 s each" in expected_time(plan, "drawn", "run", 1)
    jobs = list(plan.jobs)
    book_of(plan, *jobs[:4])
    append_line(plan.folder / BOOK, JobLine("x", "failed", [*plan.common, *jobs[4].split()]))
    said = expected_time(plan, "drawn", "simulate", 1)
    assert "2 of 6 runs are left, about 230 s each on one quiet core" in said
    assert "is not known" in expected_time(plan, "real_small", "run", 1)


@pytest.mark.parametrize(
    "other",
    [
        ("experiment=smoke", "federation.rounds=3", "crr.rollback=true"),
        ("experiment=drawn", "federation.rounds=3", "crr.rollback=false"),
        ("experiment=drawn", "federation.rounds=3"),
        ("experiment=drawn", "federation.rounds=2", "crr.rollback=true"),
    ],
)
def test_runs_of_other_words_are_not_done_and_their_folder_is_refused(other, tmp_path):
    words = ["--rounds", "3", "--seeds", "0", "--out", str(tmp_path), "--methods"]
    words += ["fedavg", "lotteryfl_keep"]
    (plan,) = plans(*words, "--", "crr.rollback=true")
    book_of(plan, *plan.jobs, common=other)
    assert len(plan.left) == 2
    with pytest.raises(RunError, match="choose another --out"):
        plan.check_folder()


def test_a_finished_run_is_known_however_hydra_spells_its_words(tmp_path):
    words = ["--rounds", "3", "--seeds", "0", "--methods", "lotteryfl_keep", "--out", str(tmp_path)]
    (plan,) = plans(*words, "--", "crr.rollback=true", "data.root='/a b'")
    book_of(plan, "seed=0 method=lotteryfl pruning.rewind=False", common=["data.root='/a b'"])
    assert len(plan.left) == 1
    spelt = ["crr.rollback=True", "data.root='/a b'", *plan.common[:2]]
    book_of(plan, "seed=0 method=lotteryfl pruning.rewind=False", common=spelt)
    assert plan.left == []


def test_runs_that_are_there_are_not_written_into_unasked(tmp_path):
    (plan,) = plans("--rounds", "1", "--out", str(tmp_path))
    plan.folder.mkdir()
    (plan.folder / BOOK).write_text("")
    with pytest.raises(RunError, match="--resume"):
        reproduce(parser().parse_args(["--rounds", "1", "--out", str(tmp_path)]), "command")


@pytest.mark.slow
def test_the_tables_are_made_from_nothing_and_a_repeat_runs_nothing(sites, tmp_path):
    words = list(tiny_overrides(sites, ["ash", "birch"]))
    chosen = ["--experiment", "smoke", "--rounds", "1", "--seeds", "0", "--transport", "simulate"]
    chosen += ["--out", str(tmp_path), "--methods", "fedklpr", "lotteryfl_keep", "local_only"]

    def made(*more):
        line = [sys.executable, str(SCRIPT), *chosen, *more, "--", *words]
        return subprocess.run(line, capture_output=True, text=True, timeout=600)

    first = made()
    assert first.returncode == 0, first.stdout + first.stderr
    text = (tmp_path / "reproduce.md").read_text()
    assert "| fedklpr | 0 |" in text
    assert "| lotteryfl | 0 |" in text
    assert f"tables made at commit {code_commit()}" in text
    assert f"commit of the runs: {code_commit()}" in text
    assert "experiments/reproduce.py --experiment smoke" in text
    assert (tmp_path / "rounds-1" / "accuracy_over_bytes.png").exists()
    again = made("--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 of 3 runs are left" in again.stdout
    assert "round  1/1" not in again.stdout

"""Claims about fedklpr_flwr.launch.sweep_job: a job's name, and the book of a sweep."""

import json

import pytest

from fedklpr_flwr.launch.sweep_job import JobLine, append_line, job_name, read_book, run_job


def test_a_jobs_name_is_its_overrides_in_any_order():
    assert job_name(["seed=1", "method=fedavg"]) == "method=fedavg,seed=1"
    assert job_name(["method=fedavg", "seed=1"]) == "method=fedavg,seed=1"
    assert job_name([]) == "defaults"


def test_false_is_false_however_hydra_spells_it():
    assert job_name(["pruning.rewind=False"]) == job_name(["pruning.rewind=false"])


@pytest.mark.parametrize(
    "words", [["data.root=/sets/a b"], ["x=" + "y" * 400], ["data.clients=[{name: ash}]"], ["a=.."]]
)
def test_a_name_is_always_one_folder(words, tmp_path):
    name = job_name(words)
    assert "/" not in name
    assert len(name) < 200
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_that_look_alike_when_mended_are_told_apart():
    assert job_name(["a=/x"]) != job_name(["a=:x"])
    assert job_name(["x=" + "y" * 400]) != job_name(["x=" + "y" * 401])


def test_a_jobs_last_line_counts_and_a_half_written_one_does_not(tmp_path):
    book = tmp_path / "sweep.jsonl"
    assert read_book(book) == []
    append_line(book, JobLine("a", "started", ["seed=0"]))
    append_line(book, JobLine("b", "started", ["seed=1"]))
    append_line(book, JobLine("a", "finished", ["seed=0"], 2.5, "Rank-1 0.5"))
    with book.open("a") as file:
        file.write('{"job": "b", "sta')
    found = read_book(book)
    assert [(line.job, line.status, line.good) for line in found] == [
        ("a", "finished", True),
        ("b", "started", False),
    ]
    assert found[0].seconds == 2.5


def test_only_what_was_written_after_a_point_can_be_read(tmp_path):
    book = tmp_path / "sweep.jsonl"
    append_line(book, JobLine("a", "failed", []))
    before = book.stat().st_size
    append_line(book, JobLine("b", "kept", []))
    assert [line.job for line in read_book(book, after=before)] == ["b"]


@pytest.mark.slow
def test_a_job_that_is_refused_is_failed_with_its_reason(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    words = ["experiment=smoke", "pruning.rate=2"]
    line = run_job(words, folder, transport="simulate", resume=False, say=print)
    assert (line.status, line.overrides) == ("failed", words)
    assert "pruning.rate=2.0" in line.message
    assert "fedklpr: pruning.rate" in (folder / "job.log").read_text()
    statuses = [json.loads(text)["status"] for text in (tmp_path / "sweep.jsonl").open()]
    assert statuses == ["started", "failed"]

"""Claims about fedklpr_flwr.runs.run_record: run folders found and read back."""

import pytest
from run_folders import MEGA, scores, write_run

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.rows import Row, append_rows
from fedklpr_flwr.runs.run_record import find_runs, read_run, read_runs


def test_a_run_is_read_back(tmp_path):
    run = read_run(write_run(tmp_path / "run", "seed=3", "method=lotteryfl"))
    assert (run.method, run.experiment, run.seed, run.rounds) == ("lotteryfl", "smoke", 3, 1)
    assert run.sites == (("ash", "drawn:street"), ("birch", "drawn:street"))
    assert run.complete
    assert run.final.rank1 == pytest.approx(0.6)
    assert [row.client for row in run.final_clients] == ["ash", "birch"]
    assert run.settings["pruning.rewind"] is True
    assert sum(row.bytes_down for row in run.summaries) == 4 * MEGA


def test_the_sites_of_pooled_pictures_are_those_that_were_pooled(tmp_path):
    run = read_run(write_run(tmp_path / "run", "method=centralised"))
    assert [name for name, _ in run.sites] == ["ash", "birch"]


def test_runs_are_found_below_a_folder_each_once_and_through_no_link(tmp_path):
    runs = tmp_path / "runs"
    one, two = write_run(runs / "one"), write_run(runs / "deep" / "two")
    (one / "memory" / "inner").mkdir(parents=True)
    (one / "memory" / "inner" / "config.yaml").write_text("")
    (runs / "latest").symlink_to("one")
    assert sorted(find_runs([runs, runs / "latest", one])) == sorted([one, two])


def test_a_folder_without_runs_and_one_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(RunError, match="has no run in it"):
        find_runs([tmp_path])
    with pytest.raises(RunError, match="is not a folder"):
        find_runs([tmp_path / "none"])


def test_rows_of_a_round_that_is_not_whole_do_not_count(tmp_path):
    folder = write_run(tmp_path / "run")
    append_rows(folder / "run.jsonl", [Row(2, "ash", rank1=0.9)])
    assert read_run(folder).final.round == 1
    assert read_run(folder).complete


def test_unfinished_and_damaged_runs_are_left_out_with_the_reason(tmp_path):
    write_run(tmp_path / "whole")
    write_run(tmp_path / "short", "federation.rounds=5")
    write_run(tmp_path / "failed", status="failed")
    write_run(tmp_path / "running", status="running")
    damaged = write_run(tmp_path / "damaged") / "run.jsonl"
    damaged.write_text("{rubbish}\n" + damaged.read_text())
    (write_run(tmp_path / "no settings") / "config.yaml").unlink()
    (write_run(tmp_path / "rubbish") / "config.yaml").write_text("a: [")
    (write_run(tmp_path / "foreign") / "config.yaml").write_text("a: 1")
    write_run(tmp_path / "empty", rank1=())
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "job.log").write_text("fedklpr: no\n")
    whole, left = read_runs(find_runs([tmp_path]))
    assert [run.folder.name for run in whole] == ["whole"]
    why = {one.folder.name: one.why for one in left}
    assert "1 of 5 rounds" in why["short"]
    assert "resume=" in why["short"]
    assert "failed" in why["failed"]
    assert "running" in why["running"]
    assert "line 1 is damaged" in why["damaged"]
    assert "cannot be read" in why["no settings"]
    assert "cannot be read" in why["rubbish"]
    assert "is not a run's" in why["foreign"]
    assert "it wrote no round" in why["empty"]
    assert "see its job.log" in why["refused"]


def test_a_run_without_a_status_is_judged_by_its_rounds(tmp_path):
    assert read_run(write_run(tmp_path / "run", status=None, rank1=scores(0.1, 0.2))).complete


def test_settings_of_another_version_are_read_as_they_stand(tmp_path):
    folder = write_run(tmp_path / "run")
    with (folder / "config.yaml").open("a") as file:
        file.write("colour:\n  of: red\n")
    assert read_run(folder).settings["colour.of"] == "red"

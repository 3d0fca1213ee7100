"""Claims about fedklpr_flwr.report.comparison_text: tables, Markdown, CSV and JSON."""

import csv
import json

import pytest
from run_folders import MEGA, scores, write_run

from fedklpr_flwr.report.comparison import compare_folders
from fedklpr_flwr.report.comparison_text import (
    TextTable,
    client_table,
    main_table,
    markdown,
    paired_table,
    plain,
    write_tables,
)


@pytest.fixture
def comparison(tmp_path):
    """FedKLPR over two seeds, FedAvg over the same, one site alone, and a run that failed."""
    runs = tmp_path / "runs"
    write_run(runs / "a", "seed=0", up=MEGA, rank1=scores(0.50, 0.70))
    write_run(runs / "b", "seed=1", up=MEGA, rank1=scores(0.60, 0.80))
    write_run(runs / "c", "seed=0", "method=fedavg", rank1=scores(0.52, 0.72))
    write_run(runs / "d", "seed=1", "method=fedavg", rank1=scores(0.64, 0.84))
    write_run(runs / "e", "method=local_only", rank1=scores(0.3, 0.3))
    write_run(runs / "f", "method=fedprox", status="failed")
    return compare_folders([runs])


def line_of(table, label):
    (found,) = [line for line in table.lines if line[0] == label]
    return dict(zip(table.headings, found, strict=True))


@pytest.mark.slow
def test_the_main_table_has_a_line_a_method(comparison):
    table = main_table(comparison)
    assert [line[0] for line in table.lines] == ["fedavg", "fedklpr", "local_only"]
    found = line_of(table, "fedklpr")
    assert found["seeds"] == "0 1"
    assert found["Rank-1"] == "0.650 ± 0.071"
    assert found["mAP"] == "0.325 ± 0.035"
    assert (found["pruned"], found["MB up"], found["MB down"]) == ("25.0%", "2.00", "4.00")
    assert (found["MB dense"], found["less than dense"]) == ("16.00", "62.5%")
    assert (found["by paper's count"], found["seconds"]) == ("25.0%", "6")
    assert line_of(table, "local_only")["Rank-1"] == "0.300"


def test_the_paired_table_holds_the_reference_against_the_others(comparison):
    table = paired_table(comparison, comparison.group("fedklpr"))
    found = line_of(table, "fedavg")
    # -2 and -4 points: mean -3, s = sqrt(2), standard error 1
    assert (found["seeds"], found["Rank-1"]) == ("0 1", "-3.0 ± 1.0")
    assert found["mAP"] == "-1.5 ± 0.5"
    assert found["below it"] == "yes"
    assert found["bytes"] == "25.0% less"
    assert found["paper's bytes"] == "0.0% less"
    assert found["ideal schedule"] == "0.0% less", "in one round the first prune is not due"
    alone = line_of(table, "local_only")
    assert (alone["seeds"], alone["Rank-1"], alone["below it"]) == ("0", "+30.0", "no")
    assert alone["ideal schedule"] == "-", "who sends nothing is no dense method to be held against"


def test_the_clients_table_has_a_column_a_client(comparison):
    table = client_table(comparison, "map")
    assert table.headings == ("method", "ash", "birch")
    assert line_of(table, "fedklpr")["ash"] == "0.275 ± 0.035"


def test_the_files_read_back(comparison, tmp_path):
    files = write_tables(comparison, comparison.group(None), tmp_path)
    assert [file.name for file in files] == ["comparison.md", "comparison.csv", "per_client.csv"]
    lines = list(csv.DictReader(files[1].open()))
    assert [line["label"] for line in lines] == ["fedavg", "fedklpr", "local_only"]
    assert float(lines[1]["rank1_mean"]) == pytest.approx(0.65)
    assert float(lines[1]["mb_paper_mean"]) == 12.0
    assert (lines[2]["rank1_sd"], lines[2]["rank1_final_mean"]) == ("", "")
    clients = list(csv.DictReader(files[2].open()))
    assert len(clients) == 6
    assert float(clients[3]["rank1_mean"]) == pytest.approx(0.75)
    assert (clients[3]["label"], clients[3]["client"]) == ("fedklpr", "birch")
    text = files[0].read_text()
    assert "| fedklpr | 0 1 | 0.650 ± 0.071 |" in text
    assert "left out: " in text
    assert "the seeds differ" in text
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, "a crooked table"


def test_a_bar_in_a_cell_does_not_break_markdown():
    assert TextTable("t", ("a|b",), (("c|d",),)).markdown().endswith("| c\\|d |")


def test_json_says_the_same(comparison):
    found = json.loads(json.dumps(plain(comparison, comparison.group(None))))
    fedklpr = found["methods"][1]
    assert (fedklpr["label"], fedklpr["seeds"]) == ("fedklpr", [0, 1])
    assert fedklpr["rank1"]["seeds"] == 2
    assert fedklpr["clients"]["ash"]["map"]["mean"] == pytest.approx(0.275)
    assert found["paired"]["fedavg"]["rank1"]["not_below"] is False
    assert found["paired"]["fedavg"]["rank1"]["error"] == pytest.approx(0.01)
    assert len(found["left_out"]) == 1


def test_the_final_rounds_column_is_there_only_where_somebody_has_one(comparison, tmp_path):
    assert not any("final" in heading for heading in main_table(comparison).headings)
    lines = (write_run(tmp_path / "final") / "run.jsonl").read_text()
    (tmp_path / "final" / "run.jsonl").write_text(
        lines.replace('"rank1_final": null', '"rank1_final": 0.99')
    )
    (line,) = [main_table(compare_folders([tmp_path / "final"])).lines[0]]
    assert "0.990" in line


def test_the_ideal_schedule_stands_beside_what_was_measured(tmp_path):
    words = ("pruning.rate=0.5", "pruning.target=0.5", "pruning.first_round=1")
    write_run(tmp_path / "a", *words, "pruning.after=null")
    write_run(tmp_path / "b", "method=fedavg")
    comparison = compare_folders([tmp_path])
    # densities 1, 0.5: up 0.5, down 1
    assert line_of(main_table(comparison), "fedklpr")["ideal schedule"] == "25.0%"
    assert line_of(main_table(comparison), "fedavg")["ideal schedule"] == "-"
    found = paired_table(comparison, comparison.group(None))
    assert line_of(found, "fedavg")["ideal schedule"] == "25.0% less"
    _, table, _ = write_tables(comparison, comparison.group(None), tmp_path)
    lines = {line["label"]: line for line in csv.DictReader(table.open())}
    assert lines["fedklpr"]["saved_paper_ideal"] == "0.25"
    assert lines["fedavg"]["saved_paper_ideal"] == ""
    assert plain(comparison, comparison.group(None))["methods"][0]["saved_paper_ideal"] == 0.25


def test_the_ideal_schedule_begins_after_the_share_of_the_rounds(tmp_path):
    words = ("pruning.rate=0.5", "pruning.target=0.5", "pruning.first_round=1")
    write_run(tmp_path / "a", *words, "pruning.after=0.5")
    comparison = compare_folders([tmp_path])
    assert line_of(main_table(comparison), "fedklpr")["ideal schedule"] == "0.0%"


def test_among_dense_methods_there_is_no_ideal_schedule(tmp_path):
    write_run(tmp_path / "a", "method=fedprox")
    write_run(tmp_path / "b", "method=fedavg")
    comparison = compare_folders([tmp_path])
    assert "ideal schedule" not in main_table(comparison).headings
    assert "ideal schedule" not in paired_table(comparison, comparison.group(None)).headings


def test_the_commits_are_said_once_or_told_apart(tmp_path):
    write_run(tmp_path / "one" / "a", commits=["1234abc"])
    write_run(tmp_path / "one" / "b", "method=fedavg", commits=["1234abc"])
    same = compare_folders([tmp_path / "one"])
    assert "- commit of the runs: 1234abc" in markdown(same, same.group(None))
    write_run(tmp_path / "two", "method=fedavg", "seed=1", commits=["5678def"])
    apart = compare_folders([tmp_path])
    said = "the commits differ: 1234abc (fedklpr, fedavg); 5678def (fedavg)"
    assert said in markdown(apart, apart.group(None))
    assert plain(apart, apart.group("fedavg"))["methods"][1]["commits"] == ["1234abc", "5678def"]


def test_a_wide_table_is_folded_and_loses_no_column():
    table = TextTable("all", ("method", "one", "two", "three"), (("fedavg", "1" * 9, "2", "3"),))
    assert table.within(80) == [table]
    parts = table.within(30)
    assert [part.title for part in parts] == ["all", ""]
    assert [part.headings for part in parts] == [("method", "one", "two"), ("method", "three")]
    assert parts[1].lines == (("fedavg", "3"),)
    assert [part.headings[1:] for part in table.within(5)] == [("one",), ("two",), ("three",)]

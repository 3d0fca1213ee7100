"""Claims about experiments/raw_results.py: every table is recomputed from the runs' own rows."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from experiments.raw_results import (
    difference_table,
    figures_of,
    keep_run,
    read_run,
    read_study,
    result_table,
)
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.rows import Row

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
README = RESULTS.parent / "README.md"


def rows_of(*rank1):
    sent = {"bytes_dense": 100, "bytes_paper": 60, "bytes_up": 30, "bytes_down": 40}
    whole = [
        Row(number, None, rank1=value, map=value / 2, **sent)
        for number, value in enumerate(rank1, 1)
    ]
    return [Row(0, None, rank1=0.01), Row(1, "gate", rank1=0.9), *whole]


@pytest.fixture
def kept(tmp_path):
    """`kept("fedavg", 3, .1, .2)`: a run of these accuracies, in the study's folder."""

    def keep(method, seed, *rank1):
        file = tmp_path / "run.jsonl"
        file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows_of(*rank1)))
        return keep_run(file, tmp_path / "study", method, seed)

    return keep


def test_a_run_comes_to_its_last_round_and_the_mean_of_its_last_five():
    found = figures_of(rows_of(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert (found.rank1, found.map) == (0.6, 0.3)
    assert found.rank1_late == pytest.approx(0.4)
    assert found.map_late == pytest.approx(0.2)
    assert (found.saved_paper, found.saved) == (pytest.approx(0.4), pytest.approx(0.3))


def test_rows_survive_compression_and_equal_rows_give_equal_bytes(kept):
    first = kept("fedavg", 0, 0.5)
    assert read_run(first) == rows_of(0.5)
    content = first.read_bytes()
    assert kept("fedavg", 0, 0.5).read_bytes() == content


def test_a_difference_is_taken_seed_by_seed(kept, tmp_path):
    for seed, base in enumerate([0.5, 0.6, 0.7]):
        kept("fedcapr", seed, base)
        kept("fedklpr", seed, base + 0.01 * seed)
    kept("fedklpr", 9, 0.1)
    study = read_study(tmp_path / "study")
    (line,) = difference_table(study, "fedcapr")[2:]
    # Differences 0, 1 and 2 points: mean 1, standard error 1 / sqrt(3).
    assert line.startswith("| fedklpr | 0 1 2 | +1.0 ± 0.6 |")
    assert "| fedklpr | 0 1 2 9 |" in "\n".join(result_table(study))


def test_what_is_not_there_is_said(kept, tmp_path):
    kept("fedavg", 0, 0.5)
    with pytest.raises(RunError, match="--against fedcapr is not in the study; there are: fedavg"):
        difference_table(read_study(tmp_path / "study"), "fedcapr")
    with pytest.raises(RunError, match="no METHOD-seedS"):
        read_study(tmp_path / "nowhere")
    (tmp_path / "study" / "fedavg-seed0.jsonl.gz").write_bytes(b"rubbish")
    with pytest.raises(RunError, match="is damaged"):
        read_study(tmp_path / "study")


@pytest.mark.parametrize("study", sorted(RESULTS.glob("*/")), ids=lambda path: path.name)
def test_every_table_of_the_documents_is_what_its_raw_results_come_to(study):
    """A table is marked by a line <!-- STUDY --> or <!-- STUDY against METHOD --> before it."""
    text, found = README.read_text(encoding="utf-8"), read_study(study)
    marks = re.findall(rf"<!-- {study.name}( against (\w+))? -->\n+((?:\|.*\n)+)", text)
    assert marks, f"experiments/README.md has no table of {study.name}"
    for _, against, table in marks:
        lines = difference_table(found, against) if against else result_table(found)
        assert table.strip() == "\n".join(lines)

"""Claims about experiments/forms_figure.py: means over seeds, and what it refuses."""

import gzip
import json

import pytest

from experiments.forms_figure import FORMS, draw_forms, main, mean_line, rounds_of
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.rows import Row


def keep(study, method, seed, scores):
    with gzip.open(study / f"{method}-seed{seed}.jsonl.gz", "wt", encoding="utf-8") as file:
        for number, score in enumerate(scores):
            client = Row(number, "a", rank1=score, bytes_up=1_000_000)
            own = Row(number, None, rank1=score, bytes_up=1_000_000, bytes_down=1_000_000)
            for row in (client, own):
                file.write(json.dumps(vars(row)) + "\n")


def test_a_line_is_the_mean_over_all_runs_of_its_methods(tmp_path):
    keep(tmp_path, "one", 0, [0.2, 0.4])
    keep(tmp_path, "one_again", 3, [0.4, 0.8])
    megabytes, rank1 = mean_line(rounds_of(tmp_path, ("one", "one_again")))
    assert megabytes == [2.0, 4.0]
    assert rank1 == pytest.approx([0.3, 0.6])


def test_runs_of_other_lengths_have_no_mean(tmp_path):
    keep(tmp_path, "one", 0, [0.2, 0.4])
    keep(tmp_path, "one", 1, [0.2])
    with pytest.raises(RunError, match="not equally many rounds"):
        rounds_of(tmp_path, ("one",))


def test_a_form_without_a_run_is_named(tmp_path, capsys):
    assert main([str(tmp_path), str(tmp_path / "figure.svg")]) == 1
    assert "has no run of fedcapr" in capsys.readouterr().err


def test_all_forms_are_drawn_and_named(tmp_path):
    pytest.importorskip("matplotlib")
    for form in FORMS:
        for method in form.methods:
            keep(tmp_path, method, 0, [0.2, 0.4])
    draw_forms(tmp_path, tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert drawn.count("4 MB, 0.400") == len(FORMS)

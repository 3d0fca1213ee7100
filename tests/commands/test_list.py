"""Claims about `fedklpr list`: all there is to choose from, with words, within 80 columns."""

import pytest

from fedklpr_flwr.config.compose import experiment_names
from fedklpr_flwr.data.benchmarks import READERS


def test_every_experiment_and_reader_has_words(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = typed("list")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    for name in (*experiment_names(), *READERS, "fedavg", "fedklprplus"):
        assert lines[name], name


@pytest.mark.parametrize("kind", ["experiments", "methods", "readers"])
def test_one_kind_alone(kind, typed):
    status, out, _ = typed("list", kind)
    assert (status, out.count("NAME")) == (0, 2 if kind == "readers" else 1)
    assert out.startswith(kind)

"""Claims about `fedklpr bench`: what it runs, and what it says where it cannot."""

import pytest

from fedklpr_flwr.commands.bench import Benchmark, _suite, bench
from fedklpr_flwr.errors import RunError, SettingsError


def test_its_names_are_those_of_the_benchmarks():
    suite = _suite_here()
    assert {name.value for name in Benchmark} == set(suite.BENCHMARKS)


def test_without_a_checkout_it_says_what_is_missing(tmp_path):
    with pytest.raises(RunError, match="needs a checkout"):
        _suite(tmp_path)


def test_only_wire_and_merge_have_something_to_prepare():
    with pytest.raises(SettingsError, match="startup needs no trained model"):
        bench(Benchmark.STARTUP, prepare=True)


def _suite_here():
    from fedklpr_flwr.commands.bench import _CHECKOUT

    return _suite(_CHECKOUT)

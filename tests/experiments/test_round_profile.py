"""Claims about experiments/round_profile.py: what is counted, once, and what its table says."""

import pytest
from tiny_federation import ONE_ROUND, PAIR, PRUNES, tiny_overrides, write_sites

from experiments import round_profile
from experiments.round_profile import Meter, profile, table
from fedklpr_flwr.launch.prepare import prepare
from fedklpr_flwr.reid.network import ReidNetwork


class Clock:
    """Time that passes where a test says so."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def work(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(round_profile, "time", made)
    return made


@pytest.fixture
def meter():
    made = Meter()
    made.counting = True
    return made


def test_nothing_is_counted_before_the_first_training(clock):
    meter = Meter()
    forward = meter.timed("forward", clock.work)
    forward(5)
    meter.counting = True
    forward(2)
    assert meter.seconds == {"forward": 2}


def test_a_part_within_itself_is_counted_once_whatever_lies_between(clock, meter):
    inner = meter.timed("forward", clock.work)
    between = meter.timed("masks", inner)

    def work():
        clock.work(1)
        between(2)

    meter.timed("forward", work)()
    assert meter.seconds == {"forward": 3, "masks": 2}


def test_a_part_that_fails_is_counted_and_over(clock, meter):
    def fail():
        clock.work(1)
        raise KeyError("batch")

    for _ in range(2):
        with pytest.raises(KeyError, match="batch"):
            meter.timed("forward", fail)()
    assert meter.seconds == {"forward": 2}


def test_waiting_for_a_batch_is_counted_and_what_is_done_with_it_is_not(clock, meter):
    def batches(count):
        for number in range(count):
            clock.work(1)
            yield number

    seen = []
    for batch in meter.waited("loading", batches)(3):
        clock.work(10)
        seen.append(batch)
    assert (seen, meter.seconds) == ([0, 1, 2], {"loading": 3})


def test_the_table_gives_shares_of_all_rounds():
    parts = {
        "forward": 2,
        "backward": 4,
        "loading": 1,
        "prune": 0.25,
        "measure": 0.5,
        "masks": 0.25,
    }
    lines = [line.split() for line in table({**parts, "round": 10}).splitlines()]
    figures = {" ".join(words[:-4]): (words[-4], words[-2]) for words in lines}
    assert figures == {
        "forward": ("2.00", "20.0"),
        "backward": ("4.00", "40.0"),
        "loading": ("1.00", "10.0"),
        "prune": ("0.25", "2.5"),
        "measure": ("0.50", "5.0"),
        "masks": ("0.25", "2.5"),
        "network = forward + backward": ("6.00", "60.0"),
        "pruning = prune + measure + masks": ("1.00", "10.0"),
        "outside the network": ("4.00", "40.0"),
        "all rounds": ("10.00", "100.0"),
    }


@pytest.mark.slow
def test_every_part_of_a_federation_is_found_and_none_is_longer_than_the_whole(tmp_path):
    write_sites(tmp_path / "sites")
    tiny = tiny_overrides(tmp_path / "sites", PAIR)
    call = ReidNetwork.__call__
    run = f"run.dir={tmp_path / 'run'}"
    seconds = profile(prepare(["experiment=smoke", *tiny, *PRUNES, ONE_ROUND, run]))
    parts = {name: taken for name, taken in seconds.items() if name != "round"}
    assert set(parts) == {"forward", "backward", "loading", "prune", "measure", "masks"}
    assert min(parts.values()) > 0
    assert sum(parts.values()) < seconds["round"]
    assert ReidNetwork.__call__ is call

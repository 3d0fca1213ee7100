"""Replies that a client may make up: each is read into checked figures, or refused in words."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedklpr_flwr.errors import MergeError, WireError
from fedklpr_flwr.protocol.figures import CRR_WORDS, FIGURES, LARGEST
from fedklpr_flwr.protocol.flower_messages import REPORT, read_report, report_record
from fedklpr_flwr.protocol.training_report import (
    TrainingReport,
    read_count,
    read_pairs,
    read_scores,
)

GOOD = {
    **TrainingReport(
        examples=48,
        divergence=0.2,
        cosine_distance=0.1,
        pruned=0.1,
        accuracy=0.5,
        clusters=8,
        outliers=3,
        idle=False,
        crr="pruned",
        loss=1.5,
        kl_loss=0.1,
        steps=4,
        pairs_worse=1,
        pairs_better=2,
        pairs_compared=40,
        crr_statistic=0.3,
        seconds={"train": 1.0, "label": 0.5},
    ).to_dict(),
    "status": "ok",
    "rank1": 0.5,
    "map": 0.25,
    "rank1_local": 0.5,
    "releases": 3,
    "pictures_changed": False,
}
NUMBERS = [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 0.5, 1.0000002, -0.0, 1e12, 1.1e12, 1e308, 5e-324]
NUMBERS += [math.nan, math.inf, -math.inf]
VALUES = [
    *NUMBERS,
    *(True, False, "", "pruned", "ok", "\x1b]0;x\x07", "x" * 9_000, "0", "nan", b"", b"\x00" * 99),
    *([], [1], [math.nan] * 9, [2**62] * 3, ["x"], [""], [True], [b""]),
]
NAMES = [
    *GOOD,
    *FIGURES,
    "seconds.",
    "seconds.\x1b[2J",
    "seconds." + "x" * 99,
    ".",
    "",
    "x.y",
    "status",
]


def made_up(generator):
    """A report in order, with one to four figures changed, missing, renamed or added."""
    record = dict(report_record(GOOD))
    for _ in range(generator.integers(1, 5)):
        kind, name = generator.integers(4), str(generator.choice(NAMES))
        if kind == 0:
            record.pop(name, None)
        elif kind == 1 and generator.integers(20) == 0:
            record |= {f"seconds.{number}": 1.0 for number in range(5_000)}
        else:
            record[name] = VALUES[generator.integers(len(VALUES))]
    return RecordDict({REPORT: ConfigRecord(record)})


def check(name, value):
    """A figure that was let in is of its kind and range, whatever was said."""
    figure = FIGURES[name]
    match figure.kind:
        case "number" | "count":
            assert math.isfinite(value), name
            assert not isinstance(value, bool), name
            assert figure.low <= value <= figure.high, name
            assert figure.kind == "number" or (isinstance(value, int) and value >= 0), name
        case "truth":
            assert isinstance(value, bool), name
        case "word":
            assert value in CRR_WORDS, name
        case "seconds":
            assert len(value) <= 32, name
            for phase, seconds in value.items():
                assert phase.isascii(), name
                assert phase.isprintable(), name
                assert 0 <= seconds <= LARGEST, name


def read_by_the_server(content):
    """Everything that a server reads of a reply."""
    said = read_report(content)
    report = dataclasses.asdict(TrainingReport.from_dict(said))
    for name, value in report.items():
        if value is not None:
            check(name, value)
    for reply in ("train", "evaluate"):
        for name, value in read_scores(said, reply).items():
            if value is not None:
                check(name, value)
    check("releases", read_count(said, "releases", 5))
    assert read_count(said, "releases", 5) <= 5
    worse, better, compared = read_pairs(said)
    assert worse + better <= compared


def fuzz(cases, seed):
    """How many of so many made-up replies were taken and refused."""
    generator, outcomes = np.random.default_rng(seed), Counter()
    for _ in range(cases):
        content = made_up(generator)
        try:
            read_by_the_server(content)
            outcomes["taken"] += 1
        except (MergeError, WireError) as error:
            # It goes into logs; a missing field is told with all that are there.
            if len(str(error)) > 2_000 and "must have the field" not in str(error):
                raise AssertionError(f"a long word: {error!s:.200}") from error
            outcomes["refused"] += 1
    return outcomes


@pytest.mark.slow
def test_five_hundred_made_up_reports_are_taken_or_refused_in_words():
    read_by_the_server(RecordDict({REPORT: report_record(GOOD)}))
    assert min(fuzz(500, seed=0)[one] for one in ("taken", "refused")) > 20


@pytest.mark.slow
def test_twenty_thousand_made_up_reports_are_taken_or_refused_in_words():
    assert sum(fuzz(20_000, seed=1).values()) == 20_000

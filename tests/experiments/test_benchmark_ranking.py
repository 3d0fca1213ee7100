"""Claims about experiments/benchmarks/ranking.py: a fast wrong ranking is not `ok`."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.benchmarks import ranking
from experiments.benchmarks.ranking import Search, Size, agree, is_mean_of, speed_rows
from fedklpr_flwr.reid.ranking import RankingScores

# Two valid queries: the first place of a right picture, average precision, inverse penalty.
SCORES = np.array([[1, 0.75, 0.5], [7, 0.25, 0.125]])
MEANS = RankingScores(rank1=0.5, rank5=0.5, rank10=1.0, map=0.5, minp=0.3125, queries=2)


@pytest.fixture(scope="module")
def search():
    """Few numbers a feature, so that many similarities are equal."""
    drawn = Search.of(Size(queries=30, gallery=200, dimensions=16, persons=10, cameras=3))
    parts = [(torch.sign(part[0]), *part[1:]) for part in (drawn.query, drawn.gallery)]
    return Search(*parts)


@pytest.fixture(autouse=True)
def no_bounds(monkeypatch):
    monkeypatch.setattr(ranking, "OVER_MATMUL", float("inf"))
    monkeypatch.setattr(ranking, "SPEEDUP", 0)


def oks(rows):
    return {row["name"]: row["ok"] for row in rows}


def test_right_rankings_are_ok_also_where_similarities_are_equal(search):
    assert oks(speed_rows(search, 1)) == {"rank_over_matmul": True, "rank_speedup_argsort": True}


def test_one_wrong_query_of_all_is_not_ok(search, monkeypatch):
    right = ranking.score_similarities

    def wrong(*arguments):
        scores = right(*arguments)
        scores[-1, 1] *= 1.001
        return scores

    monkeypatch.setattr(ranking, "score_similarities", wrong)
    assert oks(speed_rows(search, 1)) == {"rank_over_matmul": True, "rank_speedup_argsort": False}


def test_the_ranking_that_is_timed_is_the_one_that_is_checked(search, monkeypatch):
    right = ranking.score_ranking

    def wrong(*arguments):
        found = right(*arguments)
        return replace(found, map=found.map * 1.001)

    monkeypatch.setattr(ranking, "score_ranking", wrong)
    assert oks(speed_rows(search, 1)) == {"rank_over_matmul": False, "rank_speedup_argsort": True}


def test_scores_agree_only_where_every_query_does():
    assert agree(SCORES, SCORES.copy())
    assert not agree(SCORES, SCORES[:1])
    assert not agree(SCORES, SCORES + np.array([[0, 0, 0], [1e-6, 0, 0]]))


@pytest.mark.parametrize("field", ["rank1", "rank5", "rank10", "map", "minp"])
def test_a_result_is_the_mean_of_the_scores_in_each_figure(field):
    assert is_mean_of(MEANS, SCORES)
    assert not is_mean_of(replace(MEANS, **{field: 0.51}), SCORES)
    assert not is_mean_of(replace(MEANS, queries=3), SCORES)
    assert not is_mean_of(None, SCORES)

"""Ranking scores against a slow loop, with ties, junk, distractors and the same-camera rule."""

import pytest
import torch
from torch import Tensor

from fedklpr_flwr.errors import BrokenModel
from fedklpr_flwr.reid import ranking
from fedklpr_flwr.reid.ranking import RankingScores, score_ranking
from fedklpr_flwr.reid.reranking import score_reranked


def scores_by_loops(
    query: tuple[Tensor, Tensor, Tensor],
    gallery: tuple[Tensor, Tensor, Tensor],
    same_camera_rule: bool,
) -> RankingScores | None:
    first, precisions, penalties = [], [], []
    for f, person, camera in zip(*query, strict=True):
        kept = []
        for j, (g, p, c) in enumerate(zip(*gallery, strict=True)):
            removed = same_camera_rule and p == person and c == camera
            if p != -1 and not removed:
                kept.append((-float(f @ g), j, bool(p == person)))
        hits = [place for place, (_, _, right) in enumerate(sorted(kept), start=1) if right]
        if hits:
            first.append(hits[0])
            precisions.append(sum(n / place for n, place in enumerate(hits, 1)) / len(hits))
            penalties.append(len(hits) / hits[-1])
    if not first:
        return None
    return RankingScores(
        *(sum(place <= k for place in first) / len(first) for k in (1, 5, 10)),
        map=sum(precisions) / len(first),
        minp=sum(penalties) / len(first),
        queries=len(first),
    )


def random_set(count: int, seed: int, largest: int, persons: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whole-numbered features, so that nothing is rounded and ties are common."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randint(-largest, largest + 1, (count, 4), generator=generator).float()
    return (
        features,
        torch.randint(-1, persons, (count,), generator=generator),
        torch.randint(3, (count,), generator=generator),
    )


@pytest.mark.parametrize("same_camera_rule", [True, False])
@pytest.mark.parametrize("largest", [0, 1, 3, 1000])
@pytest.mark.parametrize(("queries", "shown", "persons"), [(30, 150, 8), (40, 60, 40), (5, 3, 2)])
def test_scores_are_those_of_the_definition(
    queries: int, shown: int, persons: int, largest: int, same_camera_rule: bool
) -> None:
    query = random_set(queries, 1, largest, persons)
    query = (query[0], query[1].clamp(min=0), query[2])
    gallery = random_set(shown, 2, largest, persons)
    found = score_ranking(*query, *gallery, same_camera_rule=same_camera_rule)
    expected = scores_by_loops(query, gallery, same_camera_rule)
    assert found is not None
    assert expected is not None
    assert found.queries == expected.queries
    for name in ("rank1", "rank5", "rank10", "map", "minp"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12)


def test_the_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = random_set(30, 1, 2, 8), random_set(90, 2, 2, 8)
    whole = score_ranking(*query, *gallery)
    monkeypatch.setattr(ranking, "_BLOCK", 400)
    assert score_ranking(*query, *gallery) == whole


def one_query(
    similarities: list[float], persons: list[int], cameras: list[int], **rule: bool
) -> RankingScores | None:
    """Score one query, of person 1 and camera 0, by given similarities."""
    count = len(persons)
    return score_ranking(
        torch.ones(1, 1), torch.tensor([1]), torch.tensor([0]),
        torch.tensor(similarities).reshape(count, 1),
        torch.tensor(persons, dtype=torch.int64), torch.tensor(cameras, dtype=torch.int64), **rule,
    )  # fmt: skip


def test_a_hand_made_ranking() -> None:
    # In order: wrong, right, wrong, right.
    scores = one_query([0.9, 0.8, 0.7, 0.6], [2, 1, 3, 1], [1, 1, 1, 2])
    assert scores == RankingScores(
        rank1=0.0, rank5=1.0, rank10=1.0, map=(1 / 2 + 2 / 4) / 2, minp=2 / 4, queries=1
    )


def test_the_persons_pictures_by_the_same_camera_are_taken_out() -> None:
    scores = one_query([0.9, 0.8, 0.7], [1, 2, 1], [0, 1, 1])
    assert scores is not None
    assert scores.map == 1 / 2
    without = one_query([0.9, 0.8, 0.7], [1, 2, 1], [0, 1, 1], same_camera_rule=False)
    assert without is not None
    assert without.map == (1 + 2 / 3) / 2


def test_junk_is_ignored_and_distractors_are_wrong() -> None:
    junk = one_query([0.9, 0.8], [-1, 1], [1, 1])
    assert junk is not None
    assert junk.rank1 == 1
    distractor = one_query([0.9, 0.8], [0, 1], [1, 1])
    assert distractor is not None
    assert distractor.map == 1 / 2


def test_a_query_of_junk_never_matches_junk() -> None:
    features, junk, camera = torch.ones(1, 1), torch.tensor([-1]), torch.tensor([0])
    assert score_ranking(features, junk, camera, features, junk, camera + 1) is None


def test_equal_similarities_are_ranked_by_gallery_index() -> None:
    early, late = one_query([0.5] * 3, [1, 2, 3], [1] * 3), one_query([0.5] * 3, [2, 3, 1], [1] * 3)
    assert early is not None
    assert late is not None
    assert (early.map, late.map) == (1, 1 / 3)
    last = one_query([0.9, 0.5, 0.5], [2, 3, 1], [1] * 3)
    assert last is not None
    assert last.map == 1 / 3
    only = one_query([0.5], [1], [1])
    assert only is not None
    assert only.map == 1


def test_ties_with_pictures_taken_out_do_not_count() -> None:
    scores = one_query([0.5] * 4, [1, -1, 2, 1], [0, 1, 1, 1])
    assert scores is not None
    assert scores.map == 1 / 2


@pytest.mark.parametrize(
    ("persons", "cameras"), [([2, 3], [1, 1]), ([1, 1], [0, 0]), ([-1, -1], [1, 1]), ([], [])]
)
def test_no_valid_query_gives_no_score(persons: list[int], cameras: list[int]) -> None:
    assert one_query([0.5] * len(persons), persons, cameras) is None


def test_no_query_gives_no_score() -> None:
    gallery = random_set(10, 0, 2, 3)
    empty = torch.empty(0, dtype=torch.int64)
    assert score_ranking(torch.empty(0, 4), empty, empty, *gallery) is None
    assert score_ranking(torch.empty(0, 0), empty, empty, *gallery) is None


def test_features_are_left_as_they_were() -> None:
    query, gallery = random_set(5, 1, 2, 3), random_set(9, 2, 2, 3)
    before = gallery[0].clone()
    score_ranking(*query, *gallery)
    assert torch.equal(before, gallery[0])


@pytest.mark.parametrize("score", [score_ranking, score_reranked])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused_where_they_were_perfect(score, value) -> None:
    """No picture is more similar than NaN: rank-1 was 1.0 and mAP the number of right pictures."""
    features, persons = torch.nn.functional.normalize(torch.ones(6, 3), dim=1), torch.arange(6) % 2
    broken = features.clone()
    broken[4, 1] = value
    cameras = torch.arange(6)
    with pytest.raises(BrokenModel, match="1 of 6 pictures"):
        score(features, persons, cameras, broken, persons, cameras)
    with pytest.raises(BrokenModel, match="1 of 6 pictures"):
        score(broken, persons, cameras, features, persons, cameras)

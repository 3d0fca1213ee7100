"""Claims about fedklpr_flwr.reid.nearest: what is nearest to a query, by the benchmarks' rules."""

import numpy as np
import pytest
import torch

from fedklpr_flwr.errors import DataError
from fedklpr_flwr.reid.nearest import closest_rows, findable_queries, nearest_pictures
from fedklpr_flwr.reid.ranking import score_ranking

GALLERY = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
PERSONS = torch.tensor([7, 8, 7, -1, 9])
CAMERAS = torch.tensor([0, 1, 1, 1, 2])
ASKED = torch.tensor([1.0, 0.0])


def test_the_nearest_come_first_and_ties_by_gallery_index():
    found = nearest_pictures(ASKED, 7, 5, GALLERY, PERSONS, CAMERAS, count=10)
    assert found.indices.tolist() == [0, 1, 4, 2]
    assert torch.equal(found.similarities, torch.tensor([1.0, 0.8, 0.8, 0.0]))
    assert (found.first_right, found.searched) == (1, 4)


def test_the_own_persons_pictures_by_the_own_camera_and_unknown_persons_are_left_out():
    found = nearest_pictures(ASKED, 7, 0, GALLERY, PERSONS, CAMERAS, count=10)
    assert found.indices.tolist() == [1, 4, 2]
    assert found.first_right == 3


def test_a_first_right_picture_beyond_the_list_is_told():
    found = nearest_pictures(ASKED, 7, 0, GALLERY, PERSONS, CAMERAS, count=1)
    assert found.indices.tolist() == [1]
    assert found.first_right == 3


def test_a_person_who_is_not_there_is_never_found():
    assert nearest_pictures(ASKED, 4, 0, GALLERY, PERSONS, CAMERAS, count=2).first_right == 0
    empty = torch.tensor([], dtype=torch.int64)
    nobody = nearest_pictures(ASKED, 7, 0, torch.empty((0, 2)), empty, empty, count=2)
    assert (nobody.indices.tolist(), nobody.first_right, nobody.searched) == ([], 0, 0)


def test_queries_that_another_camera_has_in_the_gallery_can_be_found():
    persons, cameras = torch.tensor([7, 8, 8, -1, 5]), torch.tensor([0, 1, 0, 0, 0])
    assert findable_queries(persons, cameras, PERSONS, CAMERAS) == [0, 2]


def test_the_places_are_those_that_the_scores_are_made_of():
    generator = torch.Generator().manual_seed(3)

    def drawn(count):
        rows = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator))
        persons = torch.randint(-1, 5, (count,), generator=generator)
        return rows, persons, torch.randint(0, 3, (count,), generator=generator)

    query, gallery = drawn(30), drawn(40)
    able = findable_queries(*query[1:], *gallery[1:])
    places = [
        nearest_pictures(
            query[0][n], int(query[1][n]), int(query[2][n]), *gallery, count=1
        ).first_right
        for n in able
    ]
    scores = score_ranking(*query, *gallery)
    assert scores.queries == len(able)
    assert scores.rank1 == sum(place == 1 for place in places) / len(places)
    assert scores.rank5 == sum(place <= 5 for place in places) / len(places)


@pytest.mark.parametrize("count", [1, 3, 10, 40, 99])
def test_the_closest_rows_are_those_of_a_whole_sort_ties_by_place(count):
    generator = np.random.default_rng(0)
    rows = generator.integers(-2, 3, (40, 3)).astype(np.float32)  # so few values tie often
    query = np.array([1, 2, -1], np.float32)
    order = sorted(range(40), key=lambda place: (-float(rows[place] @ query), place))[:count]
    places, scores = closest_rows(rows, query, count)
    assert places.tolist() == order
    assert scores.tolist() == [float(rows[place] @ query) for place in order]


def test_features_of_two_models_are_not_compared():
    with pytest.raises(DataError, match="8 dimensions and a gallery of 16"):
        closest_rows(np.ones((2, 16), np.float32), np.ones(8, np.float32), 1)
    with pytest.raises(DataError, match="nothing to search in"):
        closest_rows(np.empty((0, 8), np.float32), np.ones(8, np.float32), 1)

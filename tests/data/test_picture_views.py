"""Claims about fedklpr_flwr.data.picture_views: what a view of a picture shows."""

import pytest
import torch

from fedklpr_flwr.data.picture_views import view_of

PICTURES = torch.arange(2 * 3 * 42 * 21, dtype=torch.float32).reshape(2, 3, 42, 21)


def test_the_first_view_is_the_picture_and_the_second_its_mirror_image():
    assert view_of(PICTURES, 0) is PICTURES
    assert torch.equal(view_of(view_of(PICTURES, 1), 1), PICTURES)
    assert torch.equal(view_of(PICTURES, 1)[..., 0], PICTURES[..., -1])


@pytest.mark.parametrize(
    ("number", "down", "right"), [(2, -2, 0), (3, 2, 0), (4, 0, -1), (5, 0, 1)]
)
def test_the_others_are_moved_by_a_twenty_first_and_repeat_their_edge(number, down, right):
    moved = view_of(PICTURES, number)
    assert (moved.shape, moved.dtype) == (PICTURES.shape, PICTURES.dtype)
    for row in range(42):
        for column in range(21):
            from_row = min(max(row - down, 0), 41)
            from_column = min(max(column - right, 0), 20)
            assert torch.equal(moved[..., row, column], PICTURES[..., from_row, from_column])


def test_a_picture_of_a_few_pixels_is_moved_by_one():
    tiny = PICTURES[..., :3, :2]
    assert torch.equal(view_of(tiny, 3)[..., 1:, :], tiny[..., :-1, :])


def test_there_is_no_seventh_view():
    with pytest.raises(KeyError):
        view_of(PICTURES, 6)

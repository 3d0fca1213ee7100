"""A camera's own look is taken out of its features, and nothing where it cannot be known."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.camera_features import FEWEST, normalise_by_camera


def two_cameras(first: int = 20, second: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(first + second, 6, generator=generator)
    camera = torch.tensor([0] * first + [4] * second)
    features[camera == 4] = features[camera == 4] * 0.2 + 1
    return functional.normalize(features, dim=1), camera


@pytest.mark.parametrize("kind", ["mean", "zscore"])
def test_each_camera_is_normalised_by_its_own_pictures(kind: str) -> None:
    features, camera = two_cameras()
    found = normalise_by_camera(features, camera, kind)
    for index in range(len(features)):
        own = features[camera == camera[index]].double()
        mean = own.mean(dim=0)
        expected = features[index].double() - mean
        if kind == "zscore":
            expected = expected / ((own - mean) ** 2).mean(dim=0).sqrt()
        expected = expected / expected.norm()
        torch.testing.assert_close(found[index].double(), expected, atol=1e-5, rtol=1e-5)


def test_a_camera_of_few_pictures_goes_by_all_of_them() -> None:
    features, camera = two_cameras(first=FEWEST - 1)
    found = normalise_by_camera(features, camera, "mean")
    expected = functional.normalize(features[camera == 0] - features.mean(dim=0), dim=1)
    torch.testing.assert_close(found[camera == 0], expected)


def test_nothing_is_taken_out_of_one_camera_or_none_of_them() -> None:
    features, camera = two_cameras()
    assert normalise_by_camera(features, camera, "none") is features
    assert normalise_by_camera(features, camera * 0, "zscore") is features
    assert normalise_by_camera(features[:0], camera[:0], "zscore").shape == (0, 6)


def test_a_camera_whose_pictures_are_all_alike_is_left_as_it_is_and_told() -> None:
    features, camera = two_cameras()
    features[camera == 0] = features[0].clone()
    with pytest.warns(UserWarning, match="all 20 pictures of camera 0"):
        found = normalise_by_camera(features, camera, "zscore")
    assert torch.equal(found[camera == 0], features[camera == 0])
    assert not torch.equal(found[camera == 4], features[camera == 4])


def test_a_dimension_that_never_moves_becomes_zero() -> None:
    features, camera = two_cameras()
    features[:, 2] = 0.0
    found = normalise_by_camera(features, camera, "zscore")
    assert found.isfinite().all()
    assert not found[:, 2].any()

"""The camera-aware distance against the dense definition, written out in loops."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid.camera_jaccard import CameraNeighbours, camera_jaccard_within
from fedklpr_flwr.reid.pseudo_labels import camera_split, cluster_people


def seen_by_cameras(
    persons: int, pictures: int, cameras: int, look: float, noise: float = 0.5
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of persons, each camera with a look of its own: features, persons, cameras."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(persons).repeat_interleave(pictures * cameras)
    camera = torch.arange(cameras).repeat(persons * pictures)
    features = torch.randn(persons, 32, generator=generator)[person]
    features = features + noise * torch.randn(len(person), 32, generator=generator)
    features = features + look * torch.randn(cameras, 32, generator=generator)[camera]
    return functional.normalize(features, dim=1), person, camera


def dense_distances(
    features: Tensor, cameras: Tensor, chosen: CameraNeighbours
) -> NDArray[np.float64]:
    """The distance of all pairs, step by step, a set and a row at a time."""
    count, cosine = len(features), (features.double() @ features.double().T).numpy()

    def ranked(i: int, same: bool) -> list[int]:
        asked = [j for j in range(count) if bool(cameras[j] == cameras[i]) == same]
        return sorted(asked, key=lambda j: (j != i, -cosine[i, j]))

    within = [ranked(i, True) for i in range(count)]
    across = [ranked(i, False) for i in range(count)]
    masses = np.zeros((count, count))
    for i in range(count):
        for lists, k in ((within, chosen.k1_within + 1), (across, chosen.k1_across)):
            for j in lists[i][:k]:
                if i in lists[j][:k]:
                    masses[i, j] = np.exp(-(2 - 2 * cosine[i, j]))
        masses[i] /= masses[i].sum()
    near = [within[i][: chosen.k2_within] + across[i][: chosen.k2_across] for i in range(count)]
    masses = np.stack([masses[near[i]].mean(axis=0) for i in range(count)])
    smaller = np.minimum(masses[:, None], masses[None]).sum(axis=2)
    larger = np.maximum(masses[:, None], masses[None]).sum(axis=2)
    return 1 - smaller / larger


@pytest.mark.parametrize(
    "chosen",
    [
        CameraNeighbours(),
        CameraNeighbours(0, 1, 1, 1),
        CameraNeighbours(4, 6, 1, 0),
        CameraNeighbours(30, 90, 5, 9),
    ],
)
@pytest.mark.parametrize("eps", [0.4, 0.7, 0.95])
def test_the_pairs_and_distances_are_those_of_the_definition(
    chosen: CameraNeighbours, eps: float
) -> None:
    features, _, cameras = seen_by_cameras(8, 4, 3, look=0.5)
    cameras[:2] = 5  # a camera of two pictures
    sparse = camera_jaccard_within(features, cameras, chosen, eps=eps).tocoo()
    dense = dense_distances(features, cameras, chosen)
    found = np.zeros(dense.shape, dtype=bool)
    found[sparse.row, sparse.col] = True
    assert np.array_equal(found, dense <= eps + 1e-6)
    np.testing.assert_allclose(sparse.data, dense[sparse.row, sparse.col], atol=1e-6)


def test_people_that_split_by_camera_are_joined() -> None:
    features, person, camera = seen_by_cameras(12, 6, 2, look=1.2, noise=0.3)
    settings = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}
    plain = cluster_people(features, **settings)
    chosen = CameraNeighbours().for_few(6, 6)
    aware = cluster_people(features, **settings, cameras=camera, by_camera=chosen)
    split = [camera_split(found.labels, camera, person) for found in (plain, aware)]
    assert split[0] == 1.0
    assert split[1] is not None
    assert split[1] < 0.2


def test_one_camera_is_clustered_as_ever() -> None:
    features, _, camera = seen_by_cameras(12, 6, 2, look=0.2)
    settings = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}
    plain = cluster_people(features, **settings)
    aware = cluster_people(
        features, **settings, cameras=torch.zeros_like(camera), by_camera=CameraNeighbours()
    )
    assert torch.equal(plain.labels, aware.labels)


def test_copies_of_pictures_have_their_pictures_camera() -> None:
    features, _, camera = seen_by_cameras(6, 4, 2, look=0.4)
    found = cluster_people(
        features,
        k1=20,
        k2=6,
        eps=0.6,
        min_samples=4,
        copies=2,
        jaccard="copies",
        cameras=camera,
        by_camera=CameraNeighbours(9, 8, 2, 4),
    )
    assert len(found.labels) == len(features)
    assert found.clusters > 0


def test_few_pictures_ask_for_few_neighbours() -> None:
    published = CameraNeighbours()
    assert published.for_few(within=32, across=64) == published
    assert published.for_few(within=8, across=8) == CameraNeighbours(5, 8, 2, 4)
    assert published.for_few(within=1, across=1) == CameraNeighbours(0, 1, 1, 1)
    assert published.for_few(within=0.2, across=0.0) == CameraNeighbours(0, 1, 1, 1)


def test_no_picture_has_no_distance() -> None:
    nothing = torch.empty(0, dtype=torch.int64)
    found = camera_jaccard_within(torch.empty(0, 8), nothing, CameraNeighbours(), eps=0.5)
    assert found.shape == (0, 0)


@pytest.mark.parametrize("eps", [-0.1, 1.0])
def test_an_eps_that_keeps_nothing_or_everything_is_refused(eps: float) -> None:
    features, _, cameras = seen_by_cameras(2, 2, 2, look=0.1)
    with pytest.raises(SettingsError, match=str(eps)):
        camera_jaccard_within(features, cameras, CameraNeighbours(), eps=eps)


def test_numbers_that_find_nobody_are_refused() -> None:
    features, _, cameras = seen_by_cameras(2, 2, 2, look=0.1)
    with pytest.raises(SettingsError, match="k1_across=0"):
        camera_jaccard_within(features, cameras, CameraNeighbours(5, 0), eps=0.5)

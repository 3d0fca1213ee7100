"""Tracks are matched by their mean, never split, and never joined where one camera sees both."""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.pseudo_labels import _density_labels, cluster_people, cluster_tracks
from fedklpr_flwr.reid.track_clusters import (
    Tracks,
    constrained_labels,
    count_units,
    overlapping,
    track_units,
)

SETTINGS = {"k1": 6, "k2": 2, "eps": 0.6, "min_samples": 2}


def followed(noise: float = 0.6) -> tuple[Tensor, Tensor, Tracks, Tensor]:
    """Eight persons by two cameras, a track of five pictures in each: features to persons."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(8).repeat_interleave(10)
    camera = (torch.arange(80) // 5) % 2
    centres = torch.randn(8, 32, generator=generator)
    features = centres[person] + noise * torch.randn(80, 32, generator=generator)
    track = torch.arange(80) // 5
    frames = torch.arange(80) % 5 + 10 * person
    return functional.normalize(features, dim=1), camera, Tracks(track, frames), person


def test_a_track_is_the_mean_of_its_pictures_and_others_stand_for_themselves() -> None:
    features = functional.normalize(torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 0]]), dim=1)
    tracks = Tracks(torch.tensor([-1, 7, -1, 7]), torch.tensor([3, 9, -1, 5]))
    units = track_units(features, torch.tensor([0, 1, 0, 1]), tracks)
    assert units.of_picture.tolist() == [0, 1, 2, 1]
    assert units.sizes.tolist() == [1, 2, 1]
    assert units.cameras.tolist() == [0, 1, 0]
    expected = functional.normalize(
        torch.stack([features[0], features[1] + features[3], features[2]])
    )
    torch.testing.assert_close(units.features, expected)
    assert count_units(tracks) == 3


def test_who_is_there_at_the_same_time_in_one_camera_is_apart() -> None:
    cameras = np.array([0, 0, 1, 0, 0, 0])
    first = np.array([5, 0, 5, 8, 20, -1])
    last = np.array([9, 5, 9, 30, 21, -1])
    expected = {
        (i, j)
        for i in range(6)
        for j in range(i + 1, 6)
        if cameras[i] == cameras[j]
        and min(first[i], first[j]) >= 0
        and first[i] <= last[j]
        and first[j] <= last[i]
    }
    found = overlapping(cameras, first, last)
    assert {tuple(pair) for pair in found.tolist()} == expected == {(0, 1), (0, 3), (3, 4)}
    assert len(found) == len(expected)


def test_without_pairs_apart_cores_are_clustered_as_ever() -> None:
    generator = np.random.default_rng(0)
    near = (generator.random((60, 60)) < 0.04) * generator.random((60, 60))
    near = np.maximum(near, near.T)
    rows, columns = np.nonzero(near)
    stored = csr_matrix((near[rows, columns].astype(np.float32), (rows, columns)), shape=(60, 60))
    stored = (stored + csr_matrix(np.eye(60, dtype=np.float32))).tocsr()
    stored.sort_indices()
    plain = _density_labels(stored, weight=1, min_samples=3)
    nobody = np.empty((0, 2), np.int64)
    found = constrained_labels(stored, np.ones(60, np.int64), 3, nobody)
    assert np.array_equal(plain == -1, found == -1)
    core = np.diff(stored.indptr) >= 3
    for label in set(plain[core].tolist()):
        own = found[core & (plain == label)]
        assert len(set(own.tolist())) == 1
    assert len(set(plain[core].tolist())) == len(set(found[core].tolist()))


def test_two_that_are_apart_are_not_joined_through_a_third() -> None:
    distances = {(0, 1): 0.2, (1, 2): 0.3, (2, 3): 0.1}
    near = np.full((5, 5), np.nan)
    np.fill_diagonal(near, 0)
    for (i, j), distance in distances.items():
        near[i, j] = near[j, i] = distance
    rows, columns = np.nonzero(~np.isnan(near))
    stored = csr_matrix((near[rows, columns].astype(np.float32), (rows, columns)), shape=(5, 5))
    ones = np.ones(5, np.int64)
    free = constrained_labels(stored, ones, 2, np.empty((0, 2), np.int64))
    assert free.tolist() == [0, 0, 0, 0, -1]
    bound = constrained_labels(stored, ones, 2, np.array([[0, 3]]))
    assert bound.tolist() == [0, 0, 1, 1, -1]


def test_a_unit_that_is_no_core_joins_a_cluster_it_is_not_apart_from_or_none() -> None:
    near = np.zeros((4, 4), np.float32)
    near[:] = np.nan
    for i, j, distance in ((0, 1, 0.1), (1, 2, 0.2), (2, 3, 0.2)):
        near[i, j] = near[j, i] = distance
    np.fill_diagonal(near, 0)
    rows, columns = np.nonzero(~np.isnan(near))
    stored = csr_matrix((near[rows, columns], (rows, columns)), shape=(4, 4))
    weights = np.array([4, 1, 1, 1])
    free = constrained_labels(stored, weights, 5, np.empty((0, 2), np.int64))
    assert free.tolist() == [0, 0, 0, -1]
    assert constrained_labels(stored, weights, 5, np.array([[0, 2]])).tolist() == [0, 0, -1, -1]


def test_pictures_of_a_track_get_one_label_and_persons_are_found_across_cameras() -> None:
    features, cameras, tracks, person = followed()
    found = cluster_tracks(features, cameras, tracks, **SETTINGS)
    for track in range(16):
        assert len(set(found.labels[tracks.of_picture == track].tolist())) == 1
    assert found.labels.tolist() == person.tolist()


def test_tracks_of_one_picture_each_and_no_time_are_pictures() -> None:
    features, cameras, _, _ = followed(noise=1.2)
    alone = Tracks(torch.full((80,), -1), torch.full((80,), -1))
    found = cluster_tracks(features, cameras, alone, **SETTINGS)
    plain = cluster_people(features, **SETTINGS)
    core_pairs = found.labels[:, None] == found.labels[None]
    assert torch.equal(found.labels == -1, plain.labels == -1)
    assert float((core_pairs == (plain.labels[:, None] == plain.labels[None])).float().mean()) > 0.9


def test_look_alikes_seen_at_once_by_one_camera_are_two() -> None:
    features, cameras, tracks, person = followed(noise=0.05)
    # Person 1 looks like person 0 ...
    features = features[torch.where(person == 1, torch.arange(80) - 10, torch.arange(80))]
    joined = cluster_tracks(features, cameras, tracks, **SETTINGS)
    assert len(set(joined.labels[person < 2].tolist())) == 1
    frames = torch.where(person == 1, tracks.frames - 10, tracks.frames)  # ... beside them
    apart = cluster_tracks(features, cameras, Tracks(tracks.of_picture, frames), **SETTINGS)
    for camera in (0, 1):
        ours, theirs = ((person == p) & (cameras == camera) for p in (0, 1))
        assert set(apart.labels[ours].tolist()).isdisjoint(apart.labels[theirs].tolist())

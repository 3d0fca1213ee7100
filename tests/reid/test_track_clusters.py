"""Tracks are matched by their mean, never split, and never joined where one camera sees both."""

import tracemalloc

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


def stored(pairs: dict[tuple[int, int], float], count: int) -> csr_matrix:
    """Distances of pairs as a symmetric matrix, each row with its own 0 stored."""
    entries = pairs | {(j, i): distance for (i, j), distance in pairs.items()}
    entries |= {(i, i): 0.0 for i in range(count)}
    rows, columns = zip(*sorted(entries), strict=True)
    data = np.array([entries[pair] for pair in sorted(entries)], np.float32)
    return csr_matrix((data, (rows, columns)), shape=(count, count))


def apart_by_pairs(seen: np.ndarray) -> set[tuple[int, int]]:
    """Both orders of every pair that one camera sees at the same time, one by one."""
    return {
        (i, j)
        for i, (one, start, end) in enumerate(seen.tolist())
        for j, (other, first, last) in enumerate(seen.tolist())
        if i != j and one == other and min(start, first) >= 0 and start <= last and first <= end
    }


def slow_labels(near: csr_matrix, weights: np.ndarray, least: int, seen: np.ndarray) -> list[int]:
    """Join from the nearest on, every pair of two sets compared before they are joined."""
    apart, count = apart_by_pairs(seen), near.shape[0]
    edges = near.tocoo()
    near_by = sorted(zip(edges.data, edges.row, edges.col, strict=True))
    core = [sum(weights[j] for _, row, j in near_by if row == i) >= least for i in range(count)]
    sets = [{i} for i in range(count)]

    def join(i: int, j: int) -> bool:
        if sets[i] is not sets[j]:
            if any((a, b) in apart for a in sets[i] for b in sets[j]):
                return False
            sets[i] |= sets[j]
            for unit in sets[j]:
                sets[unit] = sets[i]
        return True

    for _, i, j in near_by:
        if i < j and core[i] and core[j]:
            join(i, j)
    joined = list(core)
    for _, i, j in near_by:
        if not core[i] and core[j]:
            joined[i] = joined[i] or join(i, j)
    leaders = [min(k for k in sets[i] if joined[k]) if joined[i] else -1 for i in range(count)]
    order = sorted(set(leaders) - {-1})
    return [order.index(leader) if leader >= 0 else -1 for leader in leaders]


NOBODY_APART = np.array([[0, -1, -1]])


def test_who_is_there_at_the_same_time_in_one_camera_is_apart() -> None:
    seen = np.array([[0, 5, 9], [0, 0, 5], [1, 5, 9], [0, 8, 30], [0, 20, 21], [0, -1, -1]])
    assert {pair for pair in apart_by_pairs(seen) if pair[0] < pair[1]} == {(0, 1), (0, 3), (3, 4)}
    for i in range(6):
        for j in range(i + 1, 6):
            labels = constrained_labels(stored({(i, j): 0.1}, 6), np.ones(6), 2, seen)
            assert (labels[i] == labels[j]) == ((i, j) not in apart_by_pairs(seen))


def test_labels_are_those_of_comparing_every_pair_of_two_sets() -> None:
    for seed in range(40):
        generator = np.random.default_rng(seed)
        count = 24
        chosen = np.argwhere(np.triu(generator.random((count, count)) < 0.25, 1)).tolist()
        near = stored({(i, j): round(generator.random(), 1) for i, j in chosen}, count)
        first = generator.integers(-3, 12, count).clip(-1)
        last = np.where(first < 0, -1, first + generator.integers(0, 3, count))
        seen = np.stack([generator.integers(0, 3, count), first, last], axis=1)
        weights = generator.integers(1, 4, count)
        found = constrained_labels(near, weights, 5, seen)
        assert found.tolist() == slow_labels(near, weights, 5, seen)


def test_memory_grows_with_the_units_and_not_with_the_pairs_that_are_apart() -> None:
    """4,000 pictures of one moment in two cameras are four million pairs."""
    count = 4_000
    seen = np.stack([np.arange(count) % 2, np.full(count, 7), np.full(count, 7)], axis=1)
    near = stored({(i, i + 1): 0.1 for i in range(count - 1)}, count)
    tracemalloc.start()
    labels = constrained_labels(near, np.ones(count, np.int64), 2, seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.bincount(labels).max() == 2
    assert peak < 20_000_000


def test_a_tracks_time_is_also_that_of_its_pictures_that_are_not_used() -> None:
    """Of the first track the last five frames are cut, of the second the first."""
    tracks = Tracks(torch.tensor([0, 1]), torch.tensor([1, 7]), torch.tensor([10, 20]))
    units = track_units(torch.eye(2), torch.tensor([0, 0]), tracks)
    assert units.seen.tolist() == [[0, 1, 10], [0, 7, 20]]


def test_without_pairs_apart_cores_are_clustered_as_ever() -> None:
    generator = np.random.default_rng(0)
    near = (generator.random((60, 60)) < 0.04) * generator.random((60, 60))
    near = np.maximum(near, near.T)
    pairs = np.argwhere(np.triu(near, 1)).tolist()
    near = stored({(i, j): near[i, j] for i, j in pairs}, 60)
    plain = _density_labels(near, weight=1, min_samples=3)
    found = constrained_labels(near, np.ones(60, np.int64), 3, NOBODY_APART.repeat(60, axis=0))
    assert np.array_equal(plain == -1, found == -1)
    core = np.diff(near.indptr) >= 3
    for label in set(plain[core].tolist()):
        own = found[core & (plain == label)]
        assert len(set(own.tolist())) == 1
    assert len(set(plain[core].tolist())) == len(set(found[core].tolist()))


def test_two_that_are_apart_are_not_joined_through_a_third() -> None:
    near = stored({(0, 1): 0.2, (1, 2): 0.3, (2, 3): 0.1}, 5)
    ones = np.ones(5, np.int64)
    assert constrained_labels(near, ones, 2, NOBODY_APART.repeat(5, axis=0)).tolist() == [
        *(0, 0, 0, 0),
        -1,
    ]
    seen = np.array([[0, 4, 6], [1, 4, 6], [2, 4, 6], [0, 6, 9], [3, 4, 6]])
    assert constrained_labels(near, ones, 2, seen).tolist() == [0, 0, 1, 1, -1]


def test_a_unit_that_is_no_core_joins_a_cluster_it_is_not_apart_from_or_none() -> None:
    near = stored({(0, 1): 0.1, (1, 2): 0.2, (2, 3): 0.2}, 4)
    weights = np.array([4, 1, 1, 1])
    free = constrained_labels(near, weights, 5, NOBODY_APART.repeat(4, axis=0))
    assert free.tolist() == [0, 0, 0, -1]
    seen = np.array([[0, 4, 6], [1, 4, 6], [0, 6, 9], [2, 4, 6]])
    assert constrained_labels(near, weights, 5, seen).tolist() == [0, 0, -1, -1]


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
    frames = torch.where(person == 1, tracks.first - 10, tracks.first)  # ... beside them
    apart = cluster_tracks(features, cameras, Tracks(tracks.of_picture, frames), **SETTINGS)
    for camera in (0, 1):
        ours, theirs = ((person == p) & (cameras == camera) for p in (0, 1))
        assert set(apart.labels[ours].tolist()).isdisjoint(apart.labels[theirs].tolist())

"""The sparse Jaccard distance against the dense definition, written out in loops."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.reid import close_pairs, jaccard, jaccard_pairs
from fedklpr_flwr.reid.jaccard import jaccard_within


def clustered(count: int, width: int, noise: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, count // 12), width, generator=generator)
    chosen = centres[torch.randint(len(centres), (count,), generator=generator)]
    return functional.normalize(chosen + noise * torch.randn(count, width, generator=generator))


def dense_jaccard(features: Tensor, k1: int, k2: int) -> NDArray[np.float64]:
    """The distance of all pairs, step by step, a set and a row at a time."""
    count, cosine = len(features), (features.double() @ features.double().T).numpy()
    ranked = [
        sorted(range(count), key=lambda j, i=i: (j != i, -cosine[i, j]))[:k1] for i in range(count)
    ]

    def mutual(i: int, width: int) -> set[int]:
        return {j for j in ranked[i][:width] if i in ranked[j][:width]}

    masses = np.zeros((count, count))
    for i in range(count):
        expanded = set(mutual(i, k1))
        for j in mutual(i, k1):
            theirs = mutual(j, round(k1 / 2) + 1)
            if len(theirs & mutual(i, k1)) > 2 / 3 * len(theirs):
                expanded |= theirs
        for j in expanded:
            masses[i, j] = np.exp(-(2 - 2 * cosine[i, j]))
        masses[i] /= masses[i].sum()
    masses = np.stack([masses[ranked[i][:k2]].mean(axis=0) for i in range(count)])
    result = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            result[i, j] = (
                1 - np.minimum(masses[i], masses[j]).sum() / np.maximum(masses[i], masses[j]).sum()
            )
    return result


@pytest.mark.parametrize(
    ("count", "width", "noise", "k1", "k2", "eps"),
    [
        (120, 16, 0.4, 20, 6, 0.5),
        (120, 16, 0.9, 30, 6, 0.6),
        (120, 16, 0.6, 10, 1, 0.7),
        (120, 16, 2.0, 7, 3, 0.95),
        (12, 8, 0.5, 20, 6, 0.5),  # fewer pictures than neighbours asked for
        (2, 8, 0.5, 20, 6, 0.5),
    ],
)
def test_the_pairs_and_distances_are_those_of_the_definition(
    count: int, width: int, noise: float, k1: int, k2: int, eps: float
) -> None:
    features = clustered(count, width, noise)
    sparse = jaccard_within(features, k1=k1, k2=k2, eps=eps).tocoo()
    dense = dense_jaccard(features, k1, k2)
    found = np.zeros((count, count), dtype=bool)
    found[sparse.row, sparse.col] = True
    assert np.array_equal(found, dense <= eps + 1e-6)
    np.testing.assert_allclose(sparse.data, dense[sparse.row, sparse.col], atol=1e-6)


def test_every_picture_is_stored_as_within_zero_of_itself() -> None:
    near = jaccard_within(clustered(40, 8, 3.0), k1=5, k2=1, eps=0.0)
    assert near.nnz >= 40
    assert np.array_equal(near.indices[near.indptr[:-1]], np.arange(40))
    np.testing.assert_allclose(near.data, 0, atol=1e-7)


def test_the_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clustered(150, 16, 0.6)
    whole = jaccard_within(features, k1=20, k2=6, eps=0.6)
    monkeypatch.setattr(jaccard_pairs, "_MEETINGS", 700)
    monkeypatch.setattr(jaccard, "_BLOCK", 900)
    cut = jaccard_within(features, k1=20, k2=6, eps=0.6)
    assert np.array_equal(whole.indptr, cut.indptr)
    assert np.array_equal(whole.indices, cut.indices)
    assert np.array_equal(whole.data, cut.data)


def test_copies_of_one_picture_are_all_close_until_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def near() -> int:
        copies = functional.normalize(torch.ones(40, 8))
        return int(jaccard_within(copies, k1=10, k2=6, eps=0.6).nnz)

    assert near() == 40 * 40
    monkeypatch.setattr(close_pairs, "_ALIKE", 1)
    monkeypatch.setattr(close_pairs, "_MOST_PAIRS", 40 * 39 // 2)
    assert near() == 40 * 40
    monkeypatch.setattr(close_pairs, "_MOST_PAIRS", 40 * 39 // 2 - 1)
    with pytest.raises(FedKlprError, match="nearly all of 40 pictures look the same"):
        near()


def test_features_are_left_as_they_were() -> None:
    features = clustered(60, 8, 0.5)
    before = features.clone()
    jaccard_within(features, k1=10, k2=3, eps=0.5)
    assert torch.equal(before, features)


def test_no_picture_has_no_distance() -> None:
    assert jaccard_within(torch.empty(0, 8), k1=20, k2=6, eps=0.5).shape == (0, 0)


@pytest.mark.parametrize("eps", [-0.1, 1.0])
def test_an_eps_that_keeps_nothing_or_everything_is_refused(eps: float) -> None:
    with pytest.raises(SettingsError, match=str(eps)):
        jaccard_within(clustered(10, 8, 0.5), k1=5, k2=2, eps=eps)

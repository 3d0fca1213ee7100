"""Close pairs against every pair compared in full."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fedklpr_flwr.reid import jaccard_pairs
from fedklpr_flwr.reid.close_pairs import pairs_within

KINDS = ("even", "steep", "one", "copies")


def rows_of_mass(kind: str, count: int, seed: int) -> NDArray[np.float32]:
    """Rows that sum to one over neighbours of their own group, and over a few of any other."""
    random = np.random.default_rng(seed)
    mass = np.zeros((count, count))
    for i in range(count):
        group = np.arange(i // 6 * 6, min(i // 6 * 6 + 6, count))
        strangers = random.choice(count, min(8, count), replace=False)
        mass[i, strangers] = random.random(len(strangers)) * (0.2 if kind == "steep" else 0.6)
        mass[i, group] += random.random(len(group))
        if kind == "one":
            mass[i] = np.arange(count) == random.choice(group)
        if kind == "copies":
            mass[i] = mass[i // 3 * 3]
    return (mass / mass.sum(axis=1, keepdims=True)).astype(np.float32)


def compared_in_full(mass: NDArray[np.float32], eps: float) -> dict[tuple[int, int], float]:
    rows = mass.astype(np.float64)
    found = {}
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            shared = np.minimum(one, other).sum()
            distance = 0.0 if i == j else max(1 - shared / (2 - shared), 0.0)
            if distance <= eps + 1e-6:
                found[i, j] = distance
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [0.0, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("meetings", [1, 50, 2**20])
def test_no_close_pair_is_missed(
    kind: str, eps: float, meetings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaccard_pairs, "_MEETINGS", meetings)
    for seed in range(3):
        mass = rows_of_mass(kind, 40 + seed, seed)
        near = pairs_within(csr_matrix(mass), eps).tocoo()
        expected = compared_in_full(mass, eps)
        assert set(zip(near.row.tolist(), near.col.tolist(), strict=True)) == set(expected)
        for i, j, distance in zip(near.row, near.col, near.data, strict=True):
            assert distance == pytest.approx(expected[i, j], abs=1e-6)

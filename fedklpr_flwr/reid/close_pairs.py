"""Which rows of mass one are close: the sparse matrix of their Jaccard distances."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.reid.jaccard_pairs import MetPairs

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Found = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]

_MOST_PAIRS, _ALIKE = 2**24, 256  # so many pairs, or so many a picture, are no persons any more
_ROUNDING = 1e-6  # masses are float32: 4 of 6 neighbours shared is .5 give or take this much
_COLLAPSED = (
    "nearly all of {} pictures look the same to the network: they are copies of one picture, or "
    "training collapsed; look at the pictures, then start anew with a lower learning rate"
)


def pairs_within(mass: "csr_matrix", eps: float) -> "csr_matrix":
    """Find the rows of mass one whose Jaccard distance is at most eps.

    With both masses one, sum max = 2 - sum min, and the distance is 1 - s / (2 - s), where s, the
    sum of min(V_ig, V_jg) over g, is the mass that two rows share.

    Args:
        mass: (N,N) float32 CSR, nothing below zero; V.
        eps: largest distance kept, in [0,1); what exceeds it by 1e-6 is kept as well, so that
            rounding does not decide on distances that are eps exactly.

    Returns:
        (N,N) float32 CSR, symmetric, indices sorted; what is stored is within eps, also a 0.

    Raises:
        FedKlprError: so many pairs are within eps that the features must have collapsed.
    """
    from scipy.sparse import coo_matrix

    count = mass.shape[0]
    reach = eps + _ROUNDING
    # A little less than it takes; the distance itself decides below.
    source = MetPairs(mass, (1 - 1e-6) * max(0, 2 * (1 - reach) / (2 - reach)))
    itself = np.arange(count, dtype=mass.indices.dtype)
    most, pairs = max(_MOST_PAIRS, _ALIKE * count), [(itself, itself, np.zeros(count, np.float32))]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for found in threads.map(partial(_near, source, reach), source.runs()):
            pairs += found, (found[1], found[0], found[2])
            most -= len(found[0])
            if most < 0:
                threads.shutdown(wait=False, cancel_futures=True)
                raise FedKlprError(_COLLAPSED.format(count))
    row, column, stored = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    close = coo_matrix((stored, (row, column)), mass.shape).tocsr()  # COO keeps stored zeros
    close.sort_indices()
    return close


def _near(source: MetPairs, reach: float, rows: tuple[int, int]) -> Found:
    """Find the pairs i < j within reach of a run of rows i: their rows, columns and distances."""
    i, j, shared = source.sharing(rows)
    distance = np.maximum(1 - shared / (2 - shared), 0)
    near = distance <= reach
    return i[near], j[near], distance[near].astype(np.float32)

"""Inner loops compiled by numba: one pass over a block where numpy takes several.

numba is an extra (`fast`). Its import takes most of a second, so it waits until a tensor comes that
is worth it; where it is not installed, numpy does the same to the bit.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Loop = Callable[..., Any]

WORTH_COMPILING = 262_144
"""Numbers that a tensor must have."""


@cache
def compiled(loop: Loop) -> Loop | None:
    """A loop over arrays as machine code, which leaves Python's lock to other threads.

    Args:
        loop: a function of a module, of arrays and numbers, that numba understands.

    Returns:
        The same function, compiled at its first call and kept on disk for the next process where
        a place for it can be written; None where numba is not installed.
    """
    try:
        from numba import njit
    except ImportError:
        return None
    try:
        return njit(nogil=True, cache=True)(loop)
    except RuntimeError:  # it found no folder to keep it in
        return njit(nogil=True)(loop)


def places_of(mask: np.ndarray) -> np.ndarray:
    """Where a mask keeps: numpy.flatnonzero, compiled where the mask is large.

    Args:
        mask: bool (n,).

    Returns:
        int64, ascending.
    """
    loop = compiled(_places_of) if mask.size >= WORTH_COMPILING // 4 else None
    if loop is None:
        return np.flatnonzero(mask)
    places = np.empty(int(np.count_nonzero(mask)) + 1, np.int64)
    loop(mask.view(np.uint8), places)
    return places[:-1]


def _places_of(mask: np.ndarray, places: np.ndarray) -> None:
    """Without a branch, which half a random mask would mispredict; so one place more is written."""
    found = 0
    for place in range(mask.size):
        places[found] = place
        found += mask[place]

"""Inner loops compiled by numba: one pass over a block where numpy takes several.

numba is an extra (`fast`). Its import takes most of a second, so it waits until a tensor comes that
is worth it; where it is not installed, numpy does the same to the bit.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

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

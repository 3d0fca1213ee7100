"""What is blinded: a client's weighted change as whole numbers modulo 2^16, and the way back.

    q_k = round(w_k (theta_k - R) / step) mod 2^16,   step = 2^e / (32766 - K)

2^e bounds the largest change of any of the K clients in the tensor, told by each as a power of
two; R is the model that all were sent. Since the weights sum to one at most, so does the sum of the
whole parts stay within 2^e / step + K / 2 < 2^15: all of the 16 bits serve the sum, however many
clients there are. It is wrong by half a step for each client at most.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.secure.blinding import Residues

LOWEST, HIGHEST = -126, 64
"""Exponents of what float32 calls normal numbers; a tensor that has not moved has the lowest."""

_LEVELS = 2**15 - 2

_AT_ONCE = 1 << 17
"""Numbers rounded at once: 1 MiB of float64."""


def exponent_of(change: NDArray[np.float32]) -> int:
    """Find the smallest e with |change| <= 2^e, and no smaller than LOWEST.

    Args:
        change: float32, any shape.

    Raises:
        WireError: a number is not finite, or beyond 2^HIGHEST.
    """
    largest = max(float(np.max(change, initial=0.0)), -float(np.min(change, initial=0.0)))
    if not largest <= 2.0**HIGHEST:
        raise WireError(
            f"a change of {largest:g} cannot be summed: expected finite numbers; training went "
            "astray"
        )
    if largest == 0.0:
        return LOWEST
    mantissa, exponent = math.frexp(largest)  # largest = mantissa 2^exponent, mantissa in [.5, 1)
    return max(LOWEST, exponent - 1 if mantissa == 0.5 else exponent)


def step_of(exponent: int, clients: int) -> float:
    """Compute the step of a tensor's numbers.

    Args:
        exponent: e, that all clients' changes keep to.
        clients: K, those who were asked for values.
    """
    return math.ldexp(1.0, exponent) / (_LEVELS - clients)


def quantise(change: NDArray[np.float32], weight: float, step: float) -> Residues:
    """Round a weighted change to whole steps.

    Args:
        change: float32 (n,), within 2^e.
        weight: w_k in [0, 1].
        step: see `step_of`.

    Returns:
        uint16 (n,): negative numbers count down from 2^16.
    """
    whole = np.empty(len(change), np.int16)
    for start in range(0, len(change), _AT_ONCE):
        part = change[start : start + _AT_ONCE].astype(np.float64)
        part *= weight / step
        whole[start : start + _AT_ONCE] = np.rint(part, out=part)
    return whole.view(np.uint16)


def dequantise(total: Residues, step: float) -> NDArray[np.float64]:
    """Turn an opened sum into numbers: float64 (n,)."""
    return total.view(np.int16) * np.float64(step)


def agreed_exponents(told: Sequence[Sequence[int]]) -> list[int]:
    """Find the range that all clients keep to, tensor by tensor: the largest that one told."""
    return [max(of_clients) for of_clients in zip(*told, strict=True)]

"""Local differential privacy: what a site sends is clipped and noised before it leaves the site.

    update <- grid(received + clip_C(trained - received) + N(0, (2 C z)^2))

C is `privacy.clip`, z `privacy.noise`. Two updates of one site, whatever its pictures, are at most
2 C apart, so that each release is a Gaussian mechanism of noise multiplier z, and all that follows
(grid, mask, wire, merge) is made of what was noised.
"""

import hashlib
import math
import os
from collections.abc import Mapping

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import CipherContext

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.system.key_stream import open_stream

_SMALLEST_VARIANCE = 1e-5
"""Noise may push a variance below zero; its square root must exist."""

_LEAST_SHARE = 1 / 4
"""Of the variance received: a layer's numbers are divided by its root, and grow twofold at most."""

_AT_ONCE = 1 << 18
"""Numbers drawn at once: 2 MiB, which stay in a processor's cache."""

_STEPS = 1024
"""Grid steps a standard deviation has at least; rounding adds 1e-7 of the noise's variance."""


def add_noise(
    state: Mapping[str, torch.Tensor],
    received: Mapping[str, torch.Tensor],
    masks: Mapping[str, torch.Tensor],
    settings: Settings,
    client: str,
    round_number: int,
) -> None:
    """Clip and noise what a client has learnt, in place.

    Signal and noise are added in float64, and their sum is rounded to multiples of a power of two
    near a thousandth of the noise's deviation. Unrounded, the last bits of a floating-point sum
    tell which signals it can be a sum of (Mironov 2012); float64's errors are some 2^-39 of a grid
    step, so that every value of the grid may come of every signal, as often as the formula says.
    Every update has noise of its own, keyed by 256 bits of the operating system.

    Args:
        state: float32 tensors by name, after local training; changed. All of them leave the site.
        received: the same before it.
        masks: bool, True = kept; pruned coordinates do not leave and stay zero.
        settings: the run's settings.
        client: the client's name, for `privacy.randomness=seed`.
        round_number: this round, likewise.
    """
    chosen = settings.privacy
    seeded = chosen.randomness == "seed"
    key = _key_of_seed(settings.seed, client, round_number) if seeded else os.urandom(32)
    stream = open_stream(key)
    deviation = 2 * chosen.clip * chosen.noise
    step = 2.0 ** math.floor(math.log2(deviation / _STEPS))
    with torch.no_grad():
        factor = _shortening(state, received, chosen.clip)
        for name, tensor in state.items():
            start = received[name].double().cpu()
            noised = start.clone()
            if factor > 0:  # 0 times infinity is NaN
                noised.copy_(tensor).sub_(start).mul_(factor).add_(start)
            noise = draw_normal(stream, tensor.numel()).view(tensor.shape)
            noised.add_(noise, alpha=deviation).mul_(1 / step).round_().mul_(step)
            if name in masks:
                noised.mul_(masks[name].cpu())
            if name.endswith("running_var"):
                # Of what the server knows anyway: nothing is told by it.
                least = received[name].double().cpu() * _LEAST_SHARE
                noised = torch.maximum(noised, least).clamp_(min=_SMALLEST_VARIANCE)
            tensor.copy_(noised)


def draw_normal(stream: CipherContext, count: int) -> torch.Tensor:
    """Draw standard normal numbers from a cryptographic stream.

    Box and Muller, each pair of 106 random bits: sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v), u in
    (0, 1] and v in [0, 1). None is beyond 8.6, where one in 10^17 would be.

    Args:
        stream: see `open_stream`; goes on where it stood.
        count: how many, at least 0.

    Returns:
        float64 (count,).
    """
    normal = torch.empty(count + count % 2, dtype=torch.float64)
    for start in range(0, len(normal), _AT_ONCE):
        part = normal[start : start + _AT_ONCE]
        bits = np.frombuffer(stream.update(bytes(8 * len(part))), dtype="<u8")
        uniform = torch.from_numpy((bits >> np.uint64(11)).astype(np.float64)).mul_(2.0**-53)
        first, second = uniform.view(2, -1)
        radius = first.add_(2.0**-53).log_().mul_(-2).sqrt_()
        angle = second.mul_(2 * math.pi)
        torch.mul(radius, angle.cos(), out=part[: len(part) // 2])
        torch.mul(radius, angle.sin(), out=part[len(part) // 2 :])
    return normal[:count]


def _shortening(
    state: Mapping[str, torch.Tensor], received: Mapping[str, torch.Tensor], clip: float
) -> float:
    """What to multiply an update with to make it no longer than `clip`.

    0 where training went astray and the update is not finite: noise alone leaves.
    """
    changes = (tensor.double().sub_(received[name]) for name, tensor in state.items())
    squares = sum(float(torch.linalg.vector_norm(change)) ** 2 for change in changes)
    if not math.isfinite(squares):
        return 0.0
    return min(1.0, clip / math.sqrt(squares)) if squares > 0 else 1.0


def _key_of_seed(seed: int, client: str, round_number: int) -> bytes:
    """A key that whoever knows the seed can make: for studies, not for people."""
    text = "\0".join(["not private", str(seed), client, str(round_number)])
    return hashlib.sha256(text.encode()).digest()

"""The forms that values travel in: numbers to symbols of 32, 16 or 8 bits, and back to float32."""

import numpy as np

from fedklpr_flwr.errors import WireError

FLOAT32, BFLOAT16, FLOAT16, INT8 = 0, 1, 2, 3
CHANGE = 4
"""Steps from a reference (change.py); the form of every tensor of a payload, or of none."""

FORMS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16, "int8": INT8}
SYMBOL_DTYPES = {FLOAT32: np.uint32, BFLOAT16: np.uint16, FLOAT16: np.uint16, INT8: np.uint8}
_LARGEST_BFLOAT16 = 0x7F7F


def form_of(shape: tuple[int, ...], values: str) -> int:
    """Choose a tensor's form: what was asked for, but float32 where a tensor has under two axes.

    Biases and batch-norm vectors are half a per cent of a network's bytes and the most sensitive
    to rounding, and a scale per channel would make them larger than they are.

    Args:
        shape: the tensor's axes.
        values: "float32", "bfloat16", "float16" or "int8".

    Returns:
        FLOAT32, BFLOAT16, FLOAT16 or INT8.

    Raises:
        WireError: an unknown form.
    """
    if values not in FORMS:
        raise WireError(f"values: must be one of {sorted(FORMS)}, got {values!r}")
    return FORMS[values] if len(shape) >= 2 else FLOAT32


def check_finite(values: np.ndarray, field: str) -> None:
    """Refuse NaN and infinity: one of them would spoil the merged model.

    Args:
        values: float32, any shape.
        field: what to call the values in the error.

    Raises:
        WireError: a number is not finite.
    """
    finite = np.isfinite(values)
    if not finite.all():
        bad = values.reshape(-1)[~finite.reshape(-1)]
        raise WireError(
            f"values of {field}: all must be finite, got {bad.size} that are not, first {bad[0]}"
        )


def channel_scales(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give each output channel the step that lets its largest value be 127 steps.

    s_c = max |v_c| / 127; 0 for a channel that is empty or all zero.

    Args:
        values: float32 (n,), the kept values, channel after channel.
        counts: int64 (channels,), how many of them each channel has.

    Returns:
        float32 (channels,).
    """
    scales = np.zeros(counts.size, np.float32)
    filled = counts > 0
    if filled.any():
        starts = np.cumsum(counts) - counts
        scales[filled] = np.maximum.reduceat(np.abs(values), starts[filled]) / np.float32(127)
    return scales


def check_scales(scales: np.ndarray, field: str) -> None:
    """Refuse scales that are negative, not finite, or too large for 127 steps.

    Args:
        scales: float32 (channels,).
        field: the tensor's name, for the error.

    Raises:
        WireError: such a scale.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        usable = np.isfinite(scales * np.float32(127)) & (scales >= 0)
    if not usable.all():
        raise WireError(
            f"scales of {field}: each must be finite and not negative, got {scales[~usable][0]}"
        )


def to_symbols(values: np.ndarray, form: int, steps: np.ndarray | None, field: str) -> np.ndarray:
    """Turn finite numbers into the symbols of a form, rounding to nearest even.

    Args:
        values: float32 (n,), finite.
        form: FLOAT32 (the same bits), BFLOAT16, FLOAT16 or INT8 (127 steps either side of 0).
        steps: float32 (n,), each value's scale, for INT8 only.
        field: what to call the values in an error.

    Returns:
        uint32 (n,), uint16 (n,) or uint8 (n,) with 128 for zero.

    Raises:
        WireError: a value beyond the form's largest number.
    """
    if form == FLOAT32:
        return values.view(np.uint32)
    if form == BFLOAT16:
        return _bfloat16_symbols(values, field)
    if form == FLOAT16:
        return _float16_symbols(values, field)
    assert steps is not None
    return _int8_symbols(values, steps)


def from_symbols(symbols: np.ndarray, form: int, steps: np.ndarray | None) -> np.ndarray:
    """Turn symbols back into numbers: what the other side sees.

    Args:
        symbols: as to_symbols gives them.
        form: FLOAT32, BFLOAT16, FLOAT16 or INT8.
        steps: float32 (n,), each value's scale, for INT8 only.

    Returns:
        float32 (n,).
    """
    if form == FLOAT32:
        return symbols.view(np.float32)
    if form == BFLOAT16:
        return (symbols.astype(np.uint32) << 16).view(np.float32)
    if form == FLOAT16:
        return symbols.view(np.float16).astype(np.float32)
    assert steps is not None
    values: np.ndarray = (symbols.astype(np.float32) - np.float32(128)) * steps
    return values


def _bfloat16_symbols(values: np.ndarray, field: str) -> np.ndarray:
    bits = values.view(np.uint32)
    # Adding just under half a step, and one more where the kept part is odd, rounds ties to even.
    symbols = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    if ((symbols & 0x7FFF) > _LARGEST_BFLOAT16).any():
        raise WireError(
            f"values of {field}: {np.abs(values).max():g} is beyond 3.39e38, the largest bfloat16; "
            "send float32"
        )
    return symbols


def _float16_symbols(values: np.ndarray, field: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise WireError(
            f"values of {field}: {np.abs(values).max():g} is beyond 65504, the largest float16; "
            "send bfloat16 or float32"
        )
    return halves.view(np.uint16)


def _int8_symbols(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    quotients = np.zeros_like(values)
    with np.errstate(over="ignore"):
        np.divide(values, steps, out=quotients, where=steps > 0)
    # A scale among the denormals is coarse, so its quotient can pass 127 (or any reference can).
    rounded = np.clip(np.rint(quotients), -127, 127)
    symbols: np.ndarray = (rounded + np.float32(128)).astype(np.uint8)
    return symbols

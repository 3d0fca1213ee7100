"""Figures as a reader wants them."""

ABSENT = "–"


def fraction(value: float | None) -> str:
    """An accuracy: 0.720."""
    return ABSENT if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share: 41%; below ten with a decimal."""
    if value is None:
        return ABSENT
    return f"{value:.0%}" if abs(value) >= 0.0995 or not value else f"{value:.1%}"


def megabytes(count: float) -> str:
    """Bytes in MB of 1,000,000: 254.5 MB."""
    value = count / 1e6
    return f"{value:,.0f} MB" if value >= 1000 else f"{value:.1f} MB"


def duration(seconds: float) -> str:
    """Seconds in the two largest units: 2 min 13 s; 48 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters, cut in the middle: names differ at their ends."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return text[: length - 1 - tail] + "…" + text[len(text) - tail :]

"""What a field of the settings may hold, as metadata that settings.py checks."""

from dataclasses import MISSING, field
from typing import Any


def one_of(*choices: str, default: Any = MISSING) -> Any:
    """A field that takes one of the named choices; with a default it may be left out."""
    return field(metadata={"choices": choices}, default=default)


def between(low: float | None = None, high: float | None = None, default: Any = MISSING) -> Any:
    """A field that takes a number from low to high, both included; with a default also none."""
    return field(metadata={"low": low, "high": high}, default=default)

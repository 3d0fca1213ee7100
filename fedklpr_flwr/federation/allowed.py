"""What a field of the settings may hold, as metadata that settings.py checks."""

from dataclasses import field
from typing import Any


def one_of(*choices: str) -> Any:
    """A field that takes one of the named choices."""
    return field(metadata={"choices": choices})


def between(low: float | None = None, high: float | None = None) -> Any:
    """A field that takes a number from low to high, both included."""
    return field(metadata={"low": low, "high": high})

"""What a real box says of itself beside its name: its package, the room on its disk, its clock."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.version import VERSION
from fedklpr_flwr.wording import printable

PROTOCOL = 1
"""Counted up whenever a box and a server of different numbers cannot work together."""

_LONGEST_VERSION = 40
_MOST = 1e12


@dataclass(frozen=True)
class BoxState:
    """A box when it answered hello.

    Attributes:
        box_version: of the package that is installed there. What runs for this run is the app that
            the server sends, so that boxes may be updated one after the other.
        box_protocol: PROTOCOL of the app that runs there.
        box_free_mb: free space where its memory lies, in MB.
        box_clock: its clock, in seconds since 1970.
    """

    box_version: str
    box_protocol: int
    box_free_mb: float
    box_clock: float

    @classmethod
    def here(cls, memory: Path) -> "BoxState":
        """This machine's.

        Args:
            memory: where its memory lies, or will.
        """
        place = next(
            path for path in (memory.absolute(), *memory.absolute().parents) if path.exists()
        )
        free = shutil.disk_usage(place).free // 1e6
        return cls(_installed_version(), PROTOCOL, free, round(time.time(), 1))

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "BoxState | None":
        """What a box said; None for one of before boxes told it.

        Raises:
            WireError: it is none of what a box can say.
        """
        if "box_version" not in said:
            return None
        version = said["box_version"]
        if not isinstance(version, str) or len(version) > _LONGEST_VERSION:
            raise WireError(f"box_version: expected a short text, got {version!r:.60}")
        protocol, free, clock = (_number(said, key) for key in _NUMBERS)
        return cls(printable(version), int(protocol), free, clock)

    def to_dict(self) -> dict[str, Any]:
        """As `read` takes it."""
        return asdict(self)

    def noted(self, node: int) -> dict[str, Any]:
        """What the server keeps: also its node, when that was, how far ahead its clock was."""
        now = time.time()
        ahead = round(self.box_clock - now, 1)
        return {**self.to_dict(), "node": str(node), "noted": now, "clock_ahead": ahead}

    def remarks(self, ahead: float) -> list[str]:
        """What an operator should look at, in words that go on a sentence about the box.

        Args:
            ahead: seconds that its clock is ahead of the server's.
        """
        return [
            words
            for is_odd, words in (
                (
                    self.box_version != VERSION,
                    f"has version {self.box_version} installed, not {VERSION}",
                ),
                (self.box_free_mb < _LITTLE_MB, f"has {self.box_free_mb:.0f} MB free on its disk"),
                (
                    abs(ahead) > _APART_SECONDS,
                    f"has a clock {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}: "
                    "certificates and deadlines go by it",
                ),
            )
            if is_odd
        ]


def _installed_version() -> str:
    """What the box's installer wrote down: the sent app's own VERSION is always the server's."""
    try:
        return metadata.version("fedklpr-flwr")
    except metadata.PackageNotFoundError:
        return VERSION


def _number(said: Mapping[str, Any], key: str) -> float:
    value = said.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return float(value)
    raise WireError(f"{key}: expected a number of 0 to {_MOST:g}, got {value!r:.60}")


_NUMBERS = ("box_protocol", "box_free_mb", "box_clock")
_LITTLE_MB = 500.0
_APART_SECONDS = 60.0

"""What the last merges changed, as a run folder keeps it for who missed some of it."""

from pathlib import Path

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system.atomic_file import remove_leftovers, write_atomically


class KeptChanges:
    """A folder of payloads, one a merged round: `ServerState.change` after it.

    Args:
        place: the folder, made when the first is kept.
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def keep(self, number: int, change: bytes, most: int) -> None:
        """Keep a round's change; the oldest go where all are more than `most` bytes.

        Raises:
            RunError: the folder cannot be made, because the disk is full for one.
        """
        try:
            self._place.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{self._place} cannot be written: {error.strerror}") from error
        remove_leftovers(self._place)
        newest, size = self._file(number), 0
        write_atomically(newest, change)
        for file in sorted(self._place.glob("*.payload"), reverse=True):
            size += file.stat().st_size if file.name <= newest.name else 0
            if size > most or file.name > newest.name:  # of a state that was set back
                file.unlink()

    def has(self, number: int) -> bool:
        """Whether a round's change is kept, and so all after it."""
        return self._file(number).exists()

    def between(self, first: int, last: int) -> list[bytes]:
        """The changes of these rounds, both included; empty where one cannot be read."""
        try:
            return [self._file(number).read_bytes() for number in range(first, last + 1)]
        except OSError:
            return []

    def _file(self, number: int) -> Path:
        return self._place / f"{number:04d}.payload"

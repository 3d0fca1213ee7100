"""Arrays that stay on disk, each read when it is asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system.array_check import array_check


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file, of which none is held.

    Args:
        path: the file, which stays as it is while they are asked for.
        arrays: what was written there; remembered by type, shape and CRC-32.

    Raises:
        RunError: an array that is asked for cannot be read any more, or is another.
    """

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        self._path = path
        self._marks = {name: _mark(array) for name, array in arrays.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        mark = self._marks[name]
        try:
            # Opened for each: as long as a file is mapped, what was read of it stays in memory.
            with safe_open(str(self._path), framework="np") as file:
                array: np.ndarray = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{self._path} cannot be read: {error}") from error
        if _mark(array) != mark:
            raise RunError(
                f"{self._path}: {name} is not what was written there; restore the folder from a "
                "copy, or start anew in another"
            )
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._marks)

    def __len__(self) -> int:
        return len(self._marks)


def _mark(array: np.ndarray) -> tuple[str, tuple[int, ...], str]:
    return array.dtype.str, array.shape, array_check({"": array})

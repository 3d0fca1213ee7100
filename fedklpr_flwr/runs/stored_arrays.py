"""Arrays that stay on disk, each read when it is asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from fedklpr_flwr.errors import RunError


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file, of which none is held.

    Args:
        path: the file, which stays as it is while they are asked for.

    Raises:
        RunError: it cannot be read any more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(str(path), framework="np") as file:
            self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        try:
            # Opened for each: as long as a file is mapped, what was read of it stays in memory.
            with safe_open(str(self._path), framework="np") as file:
                array: np.ndarray = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{self._path} cannot be read: {error}") from error
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

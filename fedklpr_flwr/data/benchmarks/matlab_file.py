"""MATLAB files, as some data sets bring their splits in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fedklpr_flwr.errors import DataError


def read_matlab(file: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB file (version 7 or older).

    Args:
        file: The file.
        names: The variables that it must hold.

    Returns:
        Name to array.

    Raises:
        DataError: If it cannot be read or lacks a variable.
    """
    from scipy.io import loadmat  # imported late: a deployed client starts a process per message

    try:
        content = loadmat(file, variable_names=list(names))
    # scipy's reader raises nearly anything on damaged bytes.
    except Exception as error:
        raise DataError(f"{file}: expected a MATLAB file, got: {error}; copy it again") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(f"{file}: expected variables {', '.join(names)}, it lacks {missing[0]}")
    return {name: content[name] for name in names}

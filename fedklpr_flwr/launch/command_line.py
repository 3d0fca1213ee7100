"""Words of a command line become Hydra overrides that mean the same wherever they are read."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.launch.own_sites import OWN, own_sites

PATH_KEYS = (
    *("run.dir", "run.memory", "run.continues", "resume"),
    *("data.root", "data.cache", "model.weights"),
)

_ESCAPED = re.compile(r"(\\*)('|\$\{|\Z)")


def split_arguments(arguments: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The experiment and the other overrides of a command line `experiment=smoke seed=1 ...`.

    Paths become absolute: the server and the clients run in other folders. With experiment=own and
    no data.clients, every folder of data.root is a site.

    Raises:
        SettingsError: an argument that is not KEY=VALUE; sites that are not there.
    """
    experiment, overrides, root = "drawn", list[str](), None
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise SettingsError(f"expected KEY=VALUE, got {argument!r}: for example seed=1")
        if key == "experiment_name" or key.lstrip("+~").startswith("hydra"):
            raise SettingsError(f"{argument}: {key} is not a setting; choose with experiment=NAME")
        if key == "experiment":
            experiment = value
        elif key in PATH_KEYS and value not in ("null", "none", "imagenet"):
            path = absolute(key, value)
            root = path if key == "data.root" else root
            overrides.append(override(key, path))
        else:
            overrides.append(argument)
    if experiment == OWN and root and not any(o.startswith("data.clients=") for o in overrides):
        overrides.append(own_sites(root))
    return experiment, tuple(overrides)


def override(key: str, value: object) -> str:
    """A Hydra override whose value is taken as it is, whatever characters it has."""
    # Hydra reads backslashes as escapes before a quote, before ${ and at the end, and there alone.
    text = _ESCAPED.sub(lambda found: found[1] * 2 + "\\" * bool(found[2]) + found[2], str(value))
    return f"{key}='{text}'"


def resume_word(folder: Path) -> str:
    """`resume=FOLDER` as a shell takes it."""
    return shlex.quote(f"resume={folder}")


def absolute(key: str, value: str) -> Path:
    """A path of a command line, which Hydra's own quotes may surround."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if not value:
        raise SettingsError(f"{key}= is empty: expected a path, or {key}=null")
    return Path(value).expanduser().resolve()

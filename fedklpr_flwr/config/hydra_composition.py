"""conf/ composed by Hydra: the groups once a choice of them, a run's own values in a copy.

Hydra takes 0.4 s a composition, nearly all of it for the forty files of the groups. Plain values
(KEY=VALUE of a key that exists) are what it sets last, so they need no composition of their own: a
study that composes hundreds of runs, or a test suite, waits for one.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CHOOSES = "deployment"  # a plain key by which a group is chosen


def composed(folder: Path, words: Sequence[str]) -> "DictConfig":
    """The configuration of conf/ with words KEY=VALUE, interpolations not yet followed.

    Args:
        folder: conf/.
        words: Hydra's overrides, groups' choices among them.

    Raises:
        HydraException, OmegaConfBaseException: what Hydra says of them.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = {word: value for word in words if (value := _plain(folder, word)) is not None}
        choices = tuple(word for word in words if word not in plain)
        config = deepcopy(_chosen(folder, choices, _last_written(folder)))
        for word in words:
            if word in plain:
                key, value = plain[word]
                OmegaConf.update(config, key, value, merge=True)
    except (HydraException, OmegaConfBaseException):
        return _by_hydra(folder, words)  # which says what is wrong with which word
    return config


@lru_cache(maxsize=32)
def _chosen(folder: Path, words: tuple[str, ...], last_written: int) -> "DictConfig":
    return _by_hydra(folder, words)


def _last_written(folder: Path) -> int:
    """When a file of the folder was last written, in nanoseconds."""
    return max(path.stat().st_mtime_ns for path in folder.rglob("*.yaml"))


def _by_hydra(folder: Path, words: Sequence[str]) -> "DictConfig":
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
        config = compose("config", overrides=list(words))
        if config[_CHOOSES] is True and not any(word.startswith("defence=") for word in words):
            # Hydra chooses a group by other groups alone, and deployment is a plain key.
            config = compose("config", overrides=["defence=deployed", *words])
    return config


@lru_cache(maxsize=1024)
def _plain(folder: Path, word: str) -> tuple[str, Any] | None:
    """Key and value of a word that sets one value; None if it chooses a group, adds or deletes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType

    said = OverridesParser.create().parse_overrides([word])[0]
    key = said.key_or_group
    one_value = said.type is OverrideType.CHANGE and said.package is None
    if not one_value or said.is_sweep_override() or key == _CHOOSES or (folder / key).is_dir():
        return None
    return key, said.value()

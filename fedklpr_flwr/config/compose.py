"""conf/ becomes Settings: composed by Hydra, checked field by field, frozen.

The server, every client, the launcher and the sweep all come through `load_settings`, so one run
has one meaning everywhere. Flower's run config carries two strings, `experiment` and `overrides`.
"""

import dataclasses
import difflib
import json
import math
import re
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from fedklpr_flwr.config.centralised import join_clients
from fedklpr_flwr.config.cross_checks import check_pairs
from fedklpr_flwr.config.experiment_guard import check_method
from fedklpr_flwr.config.hydra_composition import composed
from fedklpr_flwr.config.partition import spread_clients
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.config.written_text import kind_of, numbers_kept
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.plain_text import check_plain_yaml, read_text

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parent.parent
_HOW_GIVEN = {
    "data.clients": "fedklpr run and fedklpr simulate take every folder of data.root=FOLDER for a "
    "site; flwr run takes data.root=FOLDER and the list of them, "
    "data.clients=[{name: gate, reader: folder, folder: gate}]"
}
"""What to add for a value that is missing, where KEY=VALUE says too little."""


def configuration_folder() -> Path:
    """The YAML files' folder: beside the package in a checkout or bundle, inside it in a wheel."""
    for folder in (_PACKAGE.parent / "conf", _PACKAGE / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise SettingsError(
        f"no conf/config.yaml beside or inside {_PACKAGE}: the installation is incomplete"
    )


def experiment_names() -> tuple[str, ...]:
    """The experiments that exist, sorted."""
    return _names("experiment")


def load_settings(run_config: Mapping[str, Any]) -> Settings:
    """Settings of a run from Flower's run config.

    Args:
        run_config: `experiment` (a name of conf/experiment) and `overrides` (Hydra overrides, one
            string with shell quoting); or `settings`, all of them composed and resolved as JSON,
            which `fedklpr run --superlink` sends and which then alone counts.

    Raises:
        SettingsError: one sentence that names the key, the value and what is allowed.
    """
    if resolved := str(run_config.get("settings") or ""):
        return _resolved_settings(resolved)
    experiment = str(run_config.get("experiment") or "drawn")
    overrides = str(run_config.get("overrides") or "")
    return compose_settings(experiment, tuple(shlex.split(overrides)))


@lru_cache(maxsize=16)
def _resolved_settings(text: str) -> Settings:
    """Checked settings of what `resolved_text` wrote."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the run's settings are no JSON: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError("the run's settings are no group of keys")
    return settings_from(values)


@lru_cache(maxsize=16)
def compose_settings(experiment: str, overrides: tuple[str, ...] = ()) -> Settings:
    """Settings of an experiment with Hydra overrides applied; cached, since every message asks."""
    return settings_from(compose(experiment, overrides))


def compose(experiment: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration as plain dicts, unchecked.

    Raises:
        SettingsError: an experiment, a group's choice or a key that does not exist.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _check_experiment(experiment)
    check_method(configuration_folder() / "experiment", experiment, overrides)
    try:
        words = [f"experiment={experiment}", *numbers_kept(overrides)]
        config = composed(configuration_folder(), words)
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            how = _HOW_GIVEN.get(missing[0], f"add {missing[0]}=VALUE")
            raise SettingsError(
                f"{missing[0]} has no value and experiment={experiment} needs one: {how}"
            )
        plain = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(explain(error, overrides)) from error
    if not isinstance(plain, dict):
        raise SettingsError(f"conf/config.yaml is not a mapping but {type(plain).__name__}")
    return {str(key): value for key, value in plain.items()}


def settings_from(composed: Mapping[str, Any]) -> Settings:
    """Checked Settings from a composed configuration.

    Raises:
        SettingsError: a missing or unknown key, a wrong type, or a value out of range.
    """
    values = dict(composed)
    values["experiment"] = values.pop("experiment_name", None)
    if isinstance(values.get("model"), Mapping) and values["model"].get("weights") == "none":
        values["model"] = {**values["model"], "weights": None}
    settings = join_clients(spread_clients(build(Settings, values, "")))
    check_pairs(settings)
    return settings


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """The inverse of `settings_from`, for the run folder's config.yaml."""
    values = dataclasses.asdict(settings)
    values["experiment_name"] = values.pop("experiment")
    for key in ("clients", "joined"):
        values["data"][key] = [dict(client) for client in values["data"][key]]
    values["training"]["final_drops"] = list(values["training"]["final_drops"])
    return values


def write_settings(settings: Settings, path: Path) -> None:
    """Write a run's settings as YAML that reads back to the same settings."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(OmegaConf.create(settings_to_dict(settings)))
    write_atomically(path, text.encode())


def read_settings(path: Path) -> Settings:
    """The settings that `write_settings` wrote.

    Raises:
        SettingsError: the file is missing, or another version wrote it.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        check_plain_yaml(read_text(path))
        # Unresolved: what somebody else wrote asks nothing of this machine's environment.
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} holds no settings")
    return settings_from(with_what_null_meant({str(key): value for key, value in values.items()}))


_NULL_MEANT: dict[str, dict[str, float]] = {
    "defence": {"norm_bound": 3.0, "alignment": 0.3, "quarantine": 5},
    "klpwa": {"cap": 0.5},
}
"""Of a deployment, in run folders written before conf/defence had the numbers."""


def with_what_null_meant(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run folder's config.yaml, with the numbers that an old deployment ran by.

    Args:
        values: as it was read; nothing else is changed, and nothing in a study's.
    """
    found = dict(values)
    privacy = found.get("privacy")
    if isinstance(privacy, Mapping) and privacy.get("kind") == "secure_aggregation":
        return found  # no old run had it, and its null is one
    for group, numbers in _NULL_MEANT.items():
        said = found.get(group)
        if found.get("deployment") is True and isinstance(said, Mapping):
            unsaid = {key: number for key, number in numbers.items() if said.get(key) is None}
            found[group] = {**said, **unsaid}
    return found


def _check_experiment(experiment: str) -> None:
    names = experiment_names()
    if experiment not in names:
        raise SettingsError(
            f"experiment={experiment} does not exist{_hint(experiment, names)}; there are: "
            f"{', '.join(names)}"
        )


def _hint(word: str, names: Sequence[str]) -> str:
    """Which name may be meant, whatever its case; empty where none is near."""
    near = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), near, n=1)
    return f" (did you mean {near[close[0]]}?)" if close else ""


def _names(group: str) -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in (configuration_folder() / group).glob("*.yaml")))


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's fault in one sentence, with the override it comes from where one is named in it.

    Args:
        error: what Hydra or OmegaConf raised.
        overrides: the words it was given, each with one value.
    """
    text = " ".join(str(error).split())
    words = [(item, *item.lstrip("+~").partition("=")[::2]) for item in overrides]
    for item, key, value in words:
        if key and (configuration_folder() / key).is_dir() and value not in _names(key):
            if all(one in _names(key) for one in value.split(",")):
                return f"{item}: {_SWEEP} {item}"
            known = _names(key)
            return f"{item} does not exist{_hint(value, known)}; there are: {', '.join(known)}"
    if told := _several_values(words, text):
        return told
    unread = getattr(error, "override", None)
    if unread in overrides:  # Hydra speaks of its lexer, or of an input without the key
        return f"{unread}: {_UNREAD}"
    for item, key, _ in words:
        if key and key.rsplit(".", 1)[-1] in text:
            own = not key.startswith("hydra")
            if own and text.startswith("Error merging override"):  # Hydra says no more
                text = "a value of another kind: expected a list, a group of keys or a single one"
            return f"{item}: {(own and _unknown_key(key)) or text}"
    return text


_UNREAD = (
    "it has letters or signs that Hydra cannot read in plain words: put each text in its quotes, "
    "inside the shell's: 'data.root=\"/srv/my pictures (new)\"'"
)
_COMMA_FOR_POINT = re.compile(r"[-+]?\d+,\d+(?:e[-+]?\d+)?", re.IGNORECASE)
_SWEEP = "one run takes one value; several are a sweep: python -m fedklpr_flwr.sweep -m"


def _several_values(words: Sequence[tuple[str, str, str]], text: str) -> str | None:
    """What to say of KEY=1,2 where one run is asked for: a sweep, or a comma for a point."""
    if "multirun" not in text and "sweep" not in text.casefold():
        return None
    several = [item for item in words if "," in item[2] and not item[2].startswith(("[", "{", "'"))]
    for item, key, value in several or words[:1]:
        whole, _, part = value.partition(",")
        point = _COMMA_FOR_POINT.fullmatch(value) is not None and kind_of(key) is float
        told = f"a decimal number has a point, {key}={whole}.{part}; " * point
        return f"{item}: {told}{_SWEEP} {item}"
    return None


def _unknown_key(key: str) -> str | None:
    """What to say of a dotted key that no setting has; None if it exists."""
    known, where = Settings, ""
    for part in key.split("."):
        if not dataclasses.is_dataclass(known):
            return f"{where} has no keys below it"
        names = [item.name for item in dataclasses.fields(known)]
        if part not in names:
            inside = f"{where or 'the settings'}{_hint(part, names)}"
            return f"there is no key {part!r} in {inside}; there are: {', '.join(names)}"
        known = typing.get_type_hints(known)[part]
        where = f"{where}.{part}".lstrip(".")
    return None


def build(kind: type[T], value: Any, path: str) -> T:
    """A dataclass from a mapping, each field checked against its type and its metadata.

    Args:
        kind: the dataclass; a field may be a scalar, another dataclass, or a tuple of either.
        value: what a YAML file says.
        path: where in it, for errors; empty at the top.

    Raises:
        SettingsError: a missing or unknown key, a wrong type, or a value out of range.
    """
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path or 'its content'} is {value!r}: expected a group of keys")
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in names:
            raise SettingsError(
                f"{_join(path, key)} is not a setting; {f'{path} has' if path else 'there are'}: "
                f"{', '.join(names)}"
            )
    built = {}
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        where = _join(path, item.name)
        if item.name not in value:
            if item.default is not dataclasses.MISSING:
                continue
            raise SettingsError(f"{where} is missing from the configuration")
        built[item.name] = _value(hints[item.name], value[item.name], where, item.metadata)
    return kind(**built)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _value(kind: Any, value: Any, path: str, allowed: Mapping[str, Any]) -> Any:
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(part for part in kind.__args__ if part is not type(None))
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, path)
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise SettingsError(f"{path} is {value!r}: expected a list")
        return tuple(_value(item_kind, item, f"{path}[{i}]", {}) for i, item in enumerate(value))
    return _scalar(kind, value, path, allowed)


def _scalar(kind: type, value: Any, path: str, allowed: Mapping[str, Any]) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    choices = allowed.get("choices")
    if choices and value not in choices:
        raise SettingsError(f"{path}={value}: expected one of {', '.join(choices)}")
    if kind is str and (value is None or isinstance(value, bool | int | float)):
        # 1.10 has become 1.1, 010 8, 12:30 750 and no false: what was written is gone.
        raise SettingsError(
            f"{path}={value!r}: expected a text, and this was read as another kind of value: put "
            "it in quotes (in a shell in both kinds of them: '\"1.10\"')"
        )
    if type(value) is not kind:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise SettingsError(f"{path}={value!r}: expected {names.get(kind, kind.__name__)}")
    low, high = allowed.get("low"), allowed.get("high")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise SettingsError(f"{path}={value}: expected a number {bounds}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{path}={value}: expected a finite number")
    return value

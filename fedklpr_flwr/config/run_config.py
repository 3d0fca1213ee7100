"""What Flower carries to every node of a run, and what a real site takes of it.

The office composes the settings once and sends them resolved, as JSON. Whoever sends overrides
instead (plain `flwr run`) has them composed at the site, where an interpolation could read its
environment and a group's choice its files: none of that is taken from a network.
"""

import json
from collections.abc import Sequence

from fedklpr_flwr.config.compose import configuration_folder, settings_to_dict
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError


def resolved_text(settings: Settings) -> str:
    """Write a run's settings as the one text that every node reads back to the same settings."""
    return json.dumps(settings_to_dict(settings), separators=(",", ":"))


_INSTEAD = "start the run with fedklpr run --superlink, which sends plain values"


def refuse_lookups(
    overrides: Sequence[str], *, source: str = "a server", instead: str = _INSTEAD
) -> None:
    """Refuse overrides that would read anything of the machine they are composed on.

    Args:
        overrides: Hydra's, as they came over a network, or in somebody else's run folder.
        source: where they came from, in words.
        instead: what to do.

    Raises:
        SettingsError: an interpolation, a setting of Hydra's own, or a group's choice that is no
            plain name; the key is named and no value is quoted.
    """
    for item in overrides:
        key, _, value = item.lstrip("+~").partition("=")
        group = (configuration_folder() / key.partition("@")[0]).is_dir()
        unfit = {
            # Hydra takes its escapes off before OmegaConf looks: $\{ is one, too.
            "an interpolation": "${" in item.replace("\\", ""),
            "a setting of Hydra's own": key.partition(".")[0].partition("/")[0] == "hydra",
            "a path": "/" in key or ".." in key or (group and ("/" in value or ".." in value)),
            "a package": "@" in key,
        }
        for what, found in unfit.items():
            if found:
                shown = "".join(c for c in key[:64] if c.isalnum() or c in "._")
                raise SettingsError(
                    f"{shown}=...: {what} is not taken from {source}, since it would be looked up "
                    f"here: {instead}"
                )

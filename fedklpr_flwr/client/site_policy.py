"""What a real site does not do, whatever the server asks: its owner's word, in its node.toml."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fedklpr_flwr.config.compose import settings_from, settings_to_dict, with_what_null_meant
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError

_SCORES = ("rank1", "rank5", "rank10", "map", "minp")
_WITHHELD = (*_SCORES, "rank1_local", "map_local", "rank1_final", "map_final")


@dataclass(frozen=True)
class SitePolicy:
    """What a site allows; all of it where node.toml is silent.

    Attributes:
        identities: whether it trains with the persons' names of its folders
            (labels.source=identities).
        scores: whether it tells how well the model finds people at its cameras.
        digits: significant digits of every figure that is no whole number; None = all.
    """

    identities: bool = True
    scores: bool = True
    digits: int | None = None

    @classmethod
    def of_node(cls, node: Mapping[str, Any]) -> "SitePolicy":
        """Read the keys `policy-identities`, `policy-scores` and `policy-digits` of node.toml.

        Raises:
            SettingsError: one of them is not true or false, or no whole number from 1 to 15.
        """
        switches = {key: node.get(f"policy-{key}", True) for key in ("identities", "scores")}
        for key, value in switches.items():
            if not isinstance(value, bool):
                raise SettingsError(f"policy-{key}={value!r}: expected true or false in node.toml")
        digits = node.get("policy-digits")
        if digits is not None and (type(digits) is not int or not 1 <= digits <= 15):
            raise SettingsError(f"policy-digits={digits!r}: expected 1 to 15 in node.toml")
        return cls(**switches, digits=digits)

    def check(self, settings: Settings) -> None:
        """Refuse a run that asks what this site does not do.

        Raises:
            SettingsError: the key is named.
        """
        if not self.identities and settings.labels.source == "identities":
            raise SettingsError(
                "labels.source=identities: this site's policy (policy-identities=false in its "
                "node.toml) is to train without its folders' names of persons"
            )
        if not self.scores and settings.crr.accuracy == "heldout":
            raise SettingsError(
                "crr.accuracy=heldout: this site's policy (policy-scores=false in its node.toml) "
                "is to tell no score, and this accuracy is Rank-1 of persons held out"
            )

    def limited(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Take out of a reply's scalars what this site does not tell, and round the others."""
        kept = {key: of for key, of in said.items() if self.scores or key not in _WITHHELD}
        return {key: self._rounded(value) for key, value in kept.items()}

    def words(self) -> str:
        """Say what is held back, as the server is told at hello; empty where nothing is."""
        parts = [] if self.identities else ["no training with persons' names"]
        parts += [] if self.scores else ["no scores"]
        parts += [] if self.digits is None else [f"figures of {self.digits} digits"]
        return ", ".join(parts)

    def _rounded(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._rounded(inner) for key, inner in value.items()}
        if self.digits is None or not isinstance(value, float) or not math.isfinite(value):
            return value
        return float(f"{value:.{self.digits}g}")


def site_settings(settings: Settings, policy: SitePolicy) -> Settings:
    """Make of a run's settings those that a real site obeys, whatever the server says.

    It is a deployment, and where its pictures, its cache and its memory lie is its own affair: they
    come from its SuperNode's node-config. A file of weights that the server names is not opened:
    the model comes from the server.

    Raises:
        SettingsError: they ask what only a simulation may do, or what the site's policy forbids.
    """
    without_places = replace(
        settings,
        resume=None,
        run=replace(settings.run, dir=None, memory=None, continues=None),
        data=replace(settings.data, root=None, cache=None),
    )
    # What a null of the defence means at a deployment's server is nothing to a site.
    asked = {**settings_to_dict(without_places), "deployment": True}
    own = settings_from(with_what_null_meant(asked))
    policy.check(own)
    if own.model.weights != "imagenet":
        own = replace(own, model=replace(own.model, weights=None))
    return own

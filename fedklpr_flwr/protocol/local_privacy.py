"""What local differential privacy withholds, and the epsilon that its noise is worth.

client/dp_noise.py draws the noise. What would tell of the pictures beside the noised update is
withheld; where a setting lets something through, there is no epsilon.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.protocol.figures import FIGURES
from fedklpr_flwr.wording import counted

_FROM_MASKED_NOISE = ("none", "always")
"""Pruning rules that look at nothing but the schedule and the weights."""

_SAID_INSTEAD = {"number": 0.0, "count": 0, "truth": False}
"""What a report that must not lack a figure says where it is withheld."""


def is_private(settings: Settings) -> bool:
    """Whether updates are noised."""
    return settings.privacy.kind == "local_dp"


def leaks(settings: Settings) -> list[str]:
    """What the settings let out around the noise, a clause each; empty = epsilon holds."""
    found = []
    if settings.privacy.scores:
        found.append("privacy.scores=true sends accuracies that are not noised")
    if settings.privacy.randomness == "seed":
        found.append("privacy.randomness=seed lets whoever knows the seed subtract the noise")
    rule, when = settings.method.pruning, settings.pruning.when
    if rule != "none" and settings.pruning.batchnorm == "reestimate":
        found.append("pruning.batchnorm=reestimate sends statistics of the pictures without noise")
    if rule not in _FROM_MASKED_NOISE:
        found.append(f"method.pruning={rule} prunes by an accuracy that is not noised")
    elif rule == "always" and when == "before_last_epoch":
        found.append(f"pruning.when={when} prunes by weights that are not noised yet")
    return found


def without_withheld(said: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What is left of a reply: what the server knows anyway, and accuracies where asked for.

    Every client counts one picture and was never idle, so that merges weigh all alike.

    Args:
        said: a reply's `status` and figures; one that no table knows is no figure to be sent.
        settings: the run's settings; without privacy=local_dp all is left.
    """
    if not is_private(settings):
        return dict(said)
    released = ("no", "scores") if settings.privacy.scores else ("no",)
    kept: dict[str, Any] = {}
    for name, value in said.items():
        if name == "status" or FIGURES[name].withheld in released:
            kept[name] = value
        elif not FIGURES[name].only:
            kept[name] = _SAID_INSTEAD[FIGURES[name].kind]
    if "examples" in kept:
        kept["examples"] = 1
    return kept


def epsilon(releases: int, settings: Settings) -> float | None:
    """The epsilon of so many noised updates of one site, at `privacy.delta`.

    Args:
        releases: updates that left the site, those that were tried twice counted twice.
        settings: the run's settings.

    Returns:
        By Renyi accounting of a Gaussian mechanism without sampling, as opacus counts it; None
        where the settings leak.

    Raises:
        SettingsError: opacus is not installed.
    """
    if not is_private(settings) or leaks(settings) or releases == 0:
        return None
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        from opacus.accountants import RDPAccountant
    except ImportError as error:
        raise SettingsError(
            "privacy=local_dp counts its epsilon with opacus: pip install 'fedklpr-flwr[privacy]'"
        ) from error
    finally:  # opacus sets up the logging of whoever imports it: every line would come twice
        root.handlers[:] = handlers
        root.setLevel(level)
    accountant = RDPAccountant()
    accountant.history = [(settings.privacy.noise, 1.0, releases)]
    return float(accountant.get_epsilon(delta=settings.privacy.delta))


def privacy_notes(settings: Settings) -> list[str]:
    """What a run says of its privacy before it starts.

    Raises:
        SettingsError: opacus is not installed.
    """
    if not is_private(settings):
        return []
    rounds, clients = settings.federation.rounds, len(settings.data.clients)
    if found := leaks(settings):
        worth = f"no epsilon is told, since {'; '.join(found)}"
    else:
        worth = (
            f"after {counted(rounds, 'round')} every site has epsilon="
            f"{epsilon(rounds, settings):.3g} at delta={settings.privacy.delta:g}, if no round is "
            "tried twice"
        )
        if settings.run.continues is not None:
            worth += ", beside what the runs that this one continues have released: all is counted"
    left = 2 * settings.privacy.clip * settings.privacy.noise * math.sqrt(rounds / clients)
    notes = [
        f"privacy=local_dp: {worth}",
        f"privacy=local_dp: noise of deviation {left:.2g} will be in every number of the merged "
        f"model (2 privacy.clip privacy.noise sqrt({rounds}/{clients})), and weights are some "
        "hundredths: see docs/privacy.md",
    ]
    if settings.method.personal_parts == "none":
        notes.append(
            "privacy=local_dp: batch-norm statistics move far more than weights do and take most "
            "of privacy.clip; method.personal_parts=batchnorm keeps them at home"
        )
    return notes

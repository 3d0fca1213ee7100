"""What local differential privacy withholds, and the epsilon that its noise is worth.

client/local_dp.py draws the noise. What would tell of the pictures beside the noised update is
withheld; where a setting lets something through, there is no epsilon.
"""

import logging
from dataclasses import replace

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.protocol.report import TrainingReport
from fedklpr_flwr.wording import counted

_FROM_MASKED_NOISE = ("none", "always")
"""Pruning rules that look at nothing but the schedule and the weights."""


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


def withheld(report: TrainingReport) -> TrainingReport:
    """A report that says what the server knows anyway: the pruning, and that there was an update.

    Every client counts one picture and was never idle, so that merges weigh all alike.
    """
    return replace(
        report,
        examples=1,
        divergence=0.0,
        cosine_distance=0.0,
        accuracy=None,
        clusters=0,
        outliers=0,
        idle=False,
        loss=0.0,
        kl_loss=0.0,
        seconds={},
        cluster_precision=None,
        cluster_recall=None,
        camera_split=None,
    )


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
    if found := leaks(settings):
        return [f"privacy=local_dp: no epsilon is told, since {'; '.join(found)}"]
    rounds = settings.federation.rounds
    return [
        f"privacy=local_dp: after {counted(rounds, 'round')} every site has epsilon="
        f"{epsilon(rounds, settings):.3g} at delta={settings.privacy.delta:g}, if no round is "
        "tried twice"
    ]

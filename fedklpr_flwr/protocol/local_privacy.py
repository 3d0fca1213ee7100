"""Local differential privacy: what a site sends is clipped and noised before it leaves the site.

    update <- received + clip_C(trained - received) + N(0, (2 C z)^2)

C is `privacy.clip`, z `privacy.noise`. Two updates of one site, whatever its pictures, are at most
2 C apart, so that each release is a Gaussian mechanism of noise multiplier z, and all that follows
(mask, wire, merge) is made of what was noised. What would tell of the pictures beside the update is
withheld; where a setting lets something through, there is no epsilon.
"""

import logging
import math
import secrets
from collections.abc import Mapping
from dataclasses import replace

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.protocol.report import TrainingReport
from fedklpr_flwr.system.randomness import named_generator
from fedklpr_flwr.wording import counted

_SMALLEST_VARIANCE = 1e-5
"""Noise may push a variance below zero; its square root must exist."""

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


def add_noise(
    state: Mapping[str, torch.Tensor],
    received: Mapping[str, torch.Tensor],
    masks: Mapping[str, torch.Tensor],
    settings: Settings,
    client: str,
    round_number: int,
) -> None:
    """Clip and noise what a client has learnt, in place.

    Args:
        state: float32 tensors by name, after local training; changed. All of them leave the site.
        received: the same before it.
        masks: bool, True = kept; pruned coordinates do not leave and stay zero.
        settings: the run's settings.
        client: the client's name, for `privacy.randomness=seed`.
        round_number: this round, likewise.
    """
    chosen = settings.privacy
    if chosen.randomness == "seed":
        generator = named_generator(settings.seed, client, "privacy", round_number)
    else:
        generator = torch.Generator().manual_seed(secrets.randbits(63))
    with torch.no_grad():
        learnt = {name: tensor - received[name] for name, tensor in state.items()}
        squares = sum(float(change.double().square().sum()) for change in learnt.values())
        if not math.isfinite(squares):  # training went astray: noise alone leaves
            learnt = {name: torch.zeros_like(change) for name, change in learnt.items()}
        factor = min(1.0, chosen.clip / math.sqrt(squares)) if squares > 0 else 1.0
        deviation = 2 * chosen.clip * chosen.noise
        for name, tensor in state.items():
            noise = torch.randn(tensor.shape, generator=generator) * deviation
            noised = received[name] + factor * learnt[name] + noise.to(tensor.device)
            if name in masks:
                noised *= masks[name]
            if name.endswith("running_var"):
                noised.clamp_(min=_SMALLEST_VARIANCE)
            tensor.copy_(noised)


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
        camera_span=None,
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

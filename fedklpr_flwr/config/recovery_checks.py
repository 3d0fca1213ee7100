"""What cross-round recovery (`crr`) cannot go together with: part of cross_checks.py."""

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError


def check_recovery(settings: Settings) -> None:
    """Refuse settings by which recovery could not decide, or would decide by something else.

    Raises:
        SettingsError: one sentence with both keys, their values, and what exists instead.
    """
    _accuracy(settings)
    _pairs(settings)
    _pooled(settings)


def _accuracy(settings: Settings) -> None:
    if settings.crr.accuracy == "heldout" and settings.labels.source != "identities":
        raise SettingsError(
            "crr.accuracy=heldout needs known persons: set labels.source=identities, "
            "or crr.accuracy=training"
        )
    if settings.crr.accuracy == "rank1_test" and settings.deployment:
        raise SettingsError(
            "crr.accuracy=rank1_test decides by the test set, which deployment=true has not to "
            "spare: choose training, cross_camera, or heldout with labels.source=identities"
        )


def _pairs(settings: Settings) -> None:
    """A test on pairs compares with the model before the last prune, by the fall it looks for."""
    crr = settings.crr
    if crr.test == "threshold":
        return
    if crr.reference != "before_last_prune":
        raise SettingsError(
            f"crr.reference={crr.reference} with crr.test={crr.test}: pairs are of the pictures "
            "before the last prune and now; set crr.reference=before_last_prune, or "
            "crr.test=threshold"
        )
    if crr.test == "sequential" and crr.drop == 0:
        raise SettingsError(
            "crr.drop=0 with crr.test=sequential: the test looks for a fall of twice crr.drop, and "
            "of none it never decides; set crr.drop above 0, or crr.test=paired"
        )


def _pooled(settings: Settings) -> None:
    if not settings.crr.pooled:
        return
    crr, when, pruning = settings.crr, settings.pruning.when, settings.method.pruning
    for is_amiss, told, why in (
        (crr.test == "threshold", f"crr.test={crr.test}", "an accuracy is no count"),
        (settings.privacy.kind == "local_dp", "privacy=local_dp", "the counts are withheld"),
        (pruning != "recovery", f"method.pruning={pruning}", "only recovery asks for pairs"),
        (
            when != "before_training",
            f"pruning.when={when}",
            "the clients' pairs are counted after a merge, before the next training",
        ),
    ):
        if is_amiss:
            raise SettingsError(
                f"crr.pooled=true with {told}: {why}; set crr.pooled=false, or crr.test=paired "
                "(or sequential), method.pruning=recovery, pruning.when=before_training and "
                "privacy=none"
            )

"""Pairs of choices that cannot go together, refused when a configuration is composed."""

from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec

from fedklpr_flwr.config.client_name import CLIENT_NAME_RULE, is_client_name
from fedklpr_flwr.config.recovery_checks import check_recovery
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError


def check_pairs(settings: Settings) -> None:
    """Refuse settings that contradict themselves.

    Raises:
        SettingsError: one sentence with both keys, their values, and what exists instead.
    """
    for check in _CHECKS:
        check(settings)


def _guard(settings: Settings) -> None:
    chosen, pruning = settings.pruning, settings.method.pruning
    if chosen.guard and (pruning != "recovery" or chosen.when == "before_training"):
        raise SettingsError(
            f"pruning.guard=true with method.pruning={pruning} and pruning.when={chosen.when}: the "
            "guard looks through the new mask after an epoch of recovery's; set method.pruning="
            "recovery and pruning.when=after_training or before_last_epoch, or pruning.guard=false"
        )


def _rewind(settings: Settings) -> None:
    pruning, weights = settings.method.pruning, settings.model.weights
    if not settings.pruning.rewind:
        return
    if pruning != "lottery":
        raise SettingsError(
            f"pruning.rewind=true with method.pruning={pruning}: only lottery goes back to the "
            "initial weights; set method.pruning=lottery, or pruning.rewind=false"
        )
    if settings.deployment and weights is not None:
        raise SettingsError(
            f"pruning.rewind=true needs the initial weights at every site, and model.weights="
            f"{weights} is not stored there under deployment=true: set model.weights=null (from "
            "the seed), or pruning.rewind=false"
        )


def _parts_at_home(settings: Settings) -> None:
    """What never travels begins at each site, which opens no file that a server names."""
    parts, weights = settings.method.personal_parts, settings.model.weights
    named = weights not in (None, "imagenet")
    if settings.deployment and named and parts not in ("none", "classifier"):
        raise SettingsError(
            f"method.personal_parts={parts} with model.weights={weights}: these parts begin at "
            "each site, where that file is not opened under deployment=true: set "
            "model.weights=imagenet or null, or method.personal_parts=none"
        )


def _classifier(settings: Settings) -> None:
    loss, parts = settings.method.local_loss, settings.method.personal_parts
    source = settings.labels.source
    if loss != "identity_classifier":
        if parts == "classifier":
            raise SettingsError(
                f"method.personal_parts=classifier with method.local_loss={loss}: there is no "
                "classifier to keep; set personal_parts to none, batchnorm, neck or all, or "
                "local_loss=identity_classifier"
            )
        return
    if source != "identities":
        raise SettingsError(
            f"method.local_loss=identity_classifier needs the persons' names, labels.source="
            f"{source} finds clusters: set labels.source=identities, or another local_loss"
        )
    if parts not in ("classifier", "all"):
        raise SettingsError(
            f"method.local_loss=identity_classifier with method.personal_parts={parts}: clients "
            "have different persons, so the classifier stays at home; set personal_parts to "
            "classifier or all"
        )


def _personal(settings: Settings) -> None:
    method, stages = settings.method, settings.stages
    if method.personal_parts == "all" and method.pruning != "none":
        raise SettingsError(
            f"method.personal_parts=all sends nothing, so method.pruning={method.pruning} saves "
            "nothing: set method.pruning=none, or personal_parts to none, batchnorm or neck"
        )
    if stages.personal_after is not None and method.personal_parts != "none":
        raise SettingsError(
            f"stages.personal_after={stages.personal_after} makes {stages.personal_parts} personal "
            f"on the way, method.personal_parts={method.personal_parts} does so from the start: "
            "set method.personal_parts=none, or stages.personal_after=null"
        )
    if stages.loss_after is not None and method.local_loss == "identity_classifier":
        raise SettingsError(
            "stages.loss_after changes the loss on the way, and method.local_loss="
            "identity_classifier has a classifier to train: set stages.loss_after=null"
        )


def _neighbours(settings: Settings) -> None:
    if settings.labels.k2 > settings.labels.k1:
        raise SettingsError(
            f"labels.k2={settings.labels.k2}: expected at most labels.k1={settings.labels.k1}, "
            "whose neighbours it averages over"
        )
    if settings.labels.stripes + settings.labels.colour > 1:
        raise SettingsError(
            f"labels.stripes={settings.labels.stripes} and labels.colour={settings.labels.colour} "
            "are shares of one distance: expected at most 1 together"
        )
    if early := [epoch for epoch in settings.training.final_drops if epoch < 1]:
        raise SettingsError(
            f"training.final_drops has {early[0]}: expected epochs of the final training, from 1 on"
        )


def _clients(settings: Settings) -> None:
    if not settings.data.sites:
        raise SettingsError("data.clients=[]: expected at least one {name, reader, folder}")
    if settings.federation.fraction <= 0.0:
        raise SettingsError("federation.fraction=0.0: expected a number above 0, at most 1")
    if settings.data.join and settings.deployment:
        raise SettingsError(
            "data.join=true brings all sites' pictures to one place, which only a simulation may "
            "do: set deployment=false, or another method than centralised"
        )
    awaited = settings.federation.start_clients or len(settings.data.clients)
    if (needed := settings.federation.min_clients) > awaited:
        raise SettingsError(
            f"federation.min_clients={needed}: expected at most {awaited}, "
            "as many as a run starts with (federation.start_clients, or data.clients)"
        )


def _scenario(settings: Settings) -> None:
    data = settings.data
    if data.scenario != "by_dataset" and settings.deployment:
        raise SettingsError(
            f"data.scenario={data.scenario} makes many clients of one place's pictures, which only "
            "a simulation may do: set data.scenario=by_dataset, or deployment=false"
        )
    if data.join and any(client.camera is not None for client in data.sites):
        raise SettingsError(
            "data.join=true (method=centralised) with clients of single cameras: a person would be "
            "somebody else at every camera; set data.scenario=by_dataset, which joins the same "
            "pictures"
        )
    for client in data.sites:
        if client.hand is not None and client.hand >= data.many.clients:
            raise SettingsError(
                f"data.clients: client {client.name} has hand={client.hand}: expected 0 to "
                f"{data.many.clients - 1}, of data.many.clients={data.many.clients}"
            )


def _defence(settings: Settings) -> None:
    """Boxes are never left unbounded by a null, which meant a number in old run folders."""
    defence = settings.defence
    numbers = {
        "klpwa.cap": settings.klpwa.cap,
        "defence.norm_bound": defence.norm_bound,
        "defence.alignment": defence.alignment,
        "defence.quarantine": defence.quarantine,
    }
    if _is_secure(settings):  # bounds of what nobody sees are refused, see _secure
        del numbers["defence.norm_bound"], numbers["defence.alignment"]
    for key, number in numbers.items():
        if settings.deployment and number is None:
            raise SettingsError(
                f"{key}=null with deployment=true: expected a number, since one hostile or broken "
                "box must not move the others; leave it out for that of conf/defence/deployed.yaml"
            )


def _privacy(settings: Settings) -> None:
    weights = settings.method.aggregation_weights
    if settings.privacy.kind == "local_dp" and weights not in ("uniform", "praw"):
        raise SettingsError(
            f"method.aggregation_weights={weights} is made of figures that privacy=local_dp "
            "withholds: set it to uniform or praw"
        )
    if settings.privacy.kind == "local_dp" and settings.method.name == "local_only":
        raise SettingsError(
            "method=local_only with privacy=local_dp: nothing leaves a site, so that there is "
            "nothing to be noised: leave privacy out"
        )


def _is_secure(settings: Settings) -> bool:
    return settings.privacy.kind == "secure_aggregation"


def _secure(settings: Settings) -> None:
    """Of a sum alone nothing can be had that asks for single updates."""
    if not _is_secure(settings):
        return
    defence, method, wire = settings.defence, settings.method, settings.wire.values
    own_masks = method.pruning != "none" and settings.pruning.masks != "consensus"
    cannot = {
        f"pruning.masks={settings.pruning.masks} and method.pruning={method.pruning}": (
            own_masks and "a sum has one mask: set pruning.masks=consensus, or method.pruning=none"
        ),
        f"wire.values={wire}": (
            wire in ("int8", "change")
            and "blinded numbers have a form of their own: set wire.values=float32 or bfloat16, by "
            "which the model goes down"
        ),
        f"method.merge={method.merge}": (
            method.merge == "trimmed_mean"
            and "it sorts single updates: set method.merge=masked_mean"
        ),
        f"defence.norm_bound={defence.norm_bound}": (
            defence.norm_bound is not None
            and "the length of an update is not seen: set defence.norm_bound=null"
        ),
        f"defence.alignment={defence.alignment}": (
            bool(defence.alignment)
            and "the direction of an update is not seen: set defence.alignment=null"
        ),
        f"klaw.direction={settings.klaw.direction}": (
            settings.klaw.direction == "agreement"
            and "the direction of an update is not seen: set klaw.direction=gain, alignment or "
            "bounded"
        ),
        f"klpwa.cap={settings.klpwa.cap}": (
            (settings.klpwa.cap is None or settings.klpwa.cap > 0.5)
            and "a sum that is mostly one site's tells of that site: set klpwa.cap=0.5 or less"
        ),
        f"federation.min_clients={settings.federation.min_clients}": (
            settings.federation.min_clients < 2
            and "the sum of one is its update: set federation.min_clients=2 or more"
        ),
    }
    for told, why in cannot.items():
        if why:
            raise SettingsError(f"privacy=secure_aggregation with {told}: {why}")


def _klaw(settings: Settings) -> None:
    if settings.klaw.per_step and settings.klaw.direction == "agreement":
        raise SettingsError(
            "klaw.per_step=true divides a divergence by local steps, and klaw.direction=agreement "
            "weighs by none: set klaw.per_step=false, or another klaw.direction"
        )


def _changes(settings: Settings) -> None:
    if settings.wire.values != "change":
        return
    if settings.crr.rollback:
        raise SettingsError(
            "wire.values=change with crr.rollback=true: a rollback revives weights whose changes "
            "never came down; set crr.rollback=false, or wire.values=float32 or bfloat16"
        )
    if settings.pruning.regrow > 0:
        raise SettingsError(
            f"wire.values=change with pruning.regrow={settings.pruning.regrow:g}: what comes back "
            "has no reference at its client, to which only changes of kept weights came; set "
            "pruning.regrow=0, or wire.values=float32 or bfloat16"
        )
    if find_spec("numba") is None:
        raise SettingsError(
            "wire.values=change needs the package numba: install the extra `fast` (pip install "
            "'fedklpr-flwr[fast]') on the server and every client, or set wire.values=bfloat16"
        )


def _schedule(settings: Settings) -> None:
    rule, chosen = settings.method.pruning, settings.pruning
    if rule not in ("recovery", "always"):
        asked = {
            f"pruning.schedule={chosen.schedule}": chosen.schedule != "geometric",
            f"pruning.regrow={chosen.regrow:g}": chosen.regrow > 0,
            f"pruning.extrude={chosen.extrude:g}": chosen.extrude > 0,
            f"pruning.masks={chosen.masks}": chosen.masks != "client",
        }
        for told in (key for key, is_asked in asked.items() if is_asked):
            raise SettingsError(
                f"{told} with method.pruning={rule}: that rule prunes as its paper says; set "
                "method.pruning=recovery or always, or leave it as it is by itself"
            )
    if chosen.extrude > 0 and not _trains_before_prune(settings):
        raise SettingsError(
            f"pruning.extrude={chosen.extrude:g} with pruning.when={chosen.when} and "
            f"training.epochs={settings.training.epochs}: nothing is trained between the marking "
            "of weights and their prune; set pruning.when=after_training or before_last_epoch with "
            "two epochs, or pruning.extrude=0"
        )
    if chosen.regrow > 0 and chosen.when != "before_training":
        raise SettingsError(
            f"pruning.regrow={chosen.regrow:g} with pruning.when={chosen.when}: what comes back "
            "needs training before it is sent; set pruning.when=before_training, or regrow to 0"
        )
    if chosen.regrow > 0 and settings.crr.rollback:
        raise SettingsError(
            f"pruning.regrow={chosen.regrow:g} with crr.rollback=true: masks that were held before "
            "a prune know nothing of what came back; set pruning.regrow=0, or crr.rollback=false"
        )


def _consensus(settings: Settings) -> None:
    """One mask for all is made of what went down: nothing of a client's own may go into it."""
    if settings.pruning.masks != "consensus":
        return
    own = {
        f"method.pruning={settings.method.pruning}": settings.method.pruning != "always",
        f"pruning.when={settings.pruning.when}": settings.pruning.when != "before_training",
        f"pruning.regrow={settings.pruning.regrow:g}": settings.pruning.regrow > 0,
        f"wire.values={settings.wire.values}": settings.wire.values == "int8",
    }
    for told in (key for key, is_own in own.items() if is_own):
        raise SettingsError(
            f"pruning.masks=consensus with {told}: all clients must find the same mask in the "
            "model that went down; set method.pruning=always, pruning.when=before_training, "
            "pruning.regrow=0 and another wire.values than int8, or pruning.masks=client"
        )


def _trains_before_prune(settings: Settings) -> bool:
    when = settings.pruning.when
    if when == "before_last_epoch":
        return settings.training.epochs > 1
    return when == "after_training"


def _names(settings: Settings) -> None:
    names = [client.name for client in settings.data.sites]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SettingsError(f"data.clients names {twice[0]} twice: every client needs its own name")
    unsafe = [name for name in names if not is_client_name(name)]
    if unsafe:
        raise SettingsError(
            f"data.clients has the name {unsafe[0]!r:.100}: expected {CLIENT_NAME_RULE}"
        )


_CHECKS: tuple[Callable[[Settings], None], ...] = (
    check_recovery,
    _guard,
    _rewind,
    _parts_at_home,
    _classifier,
    _personal,
    _neighbours,
    _clients,
    _scenario,
    _defence,
    _privacy,
    _secure,
    _klaw,
    _changes,
    _schedule,
    _consensus,
    _names,
)

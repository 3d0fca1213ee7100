"""When a client prunes: each pruning method is up to three pure functions over one frozen state.

A rule's functions are asked at the same moments of every round, whatever the method:

    before_training   the received weights lie behind the client's masks, nothing is trained yet
    after_epoch       an epoch has ended (and once at epoch 0.5, where a round has only one)
    after_training    the last epoch has ended, and after_epoch has been asked for it
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fedklpr_flwr.algorithm.masks import mask_difference, pruning_ratio
from fedklpr_flwr.algorithm.pruning_step import (
    PruningMoment,
    PruningStep,
    candidate_masks,
    keep,
    outside,
    remember_accuracy,
    seen_through,
    shrink,
)
from fedklpr_flwr.algorithm.recovery import PruningDecision, decide_pruning

Hook = Callable[[PruningMoment], PruningStep]


@dataclass(frozen=True)
class PruningRule:
    """One method of pruning: what it does at each of the three moments."""

    before_training: Hook = keep
    after_epoch: Hook = keep
    after_training: Hook = keep


def recover_when_due(moment: PruningMoment) -> PruningStep:
    """Lets recovery decide before training (FedKLPR's default)."""
    return _recover(moment) if _is_due(moment) else keep(moment)


def recover_after_epoch(moment: PruningMoment) -> PruningStep:
    """Lets recovery decide before the last epoch, by the accuracy of the epoch before it."""
    return _recover(remember_accuracy(moment)) if _is_due(moment) else keep(moment)


def recover_after_training(moment: PruningMoment) -> PruningStep:
    """Remembers the round's accuracy, and lets recovery decide if pruning comes after training."""
    moment = remember_accuracy(moment)
    return _recover(moment) if moment.settings.when == "after_training" else keep(moment)


def always_when_due(moment: PruningMoment) -> PruningStep:
    """Prunes without recovery, before training or before the last epoch."""
    return _prune_anyway(moment) if _is_due(moment) else keep(moment)


def always_after_training(moment: PruningMoment) -> PruningStep:
    """Prunes without recovery after training."""
    return _prune_anyway(moment) if moment.settings.when == "after_training" else keep(moment)


def lottery_before_training(moment: PruningMoment) -> PruningStep:
    """Prunes, and rewinds where asked, while the last round's accuracy is above `settings.above`.

    Source: LotteryFL (its code measures on the client's test pictures; here on training ones).
    """
    accuracy = moment.state.recovery.newest
    holding = outside(moment) or _not_above(moment, accuracy)
    if holding is not None:
        return keep(moment, holding)
    step = shrink(moment, PruningDecision("pruned", f"accuracy {accuracy} is high enough"))
    return replace(step, rewind=moment.settings.rewind and step.masks is not moment.masks)


def lottery_after_training(moment: PruningMoment) -> PruningStep:
    """Remembers the accuracy that the next round's prune is decided by."""
    return keep(remember_accuracy(moment))


def sub_fedavg_after_epoch(moment: PruningMoment) -> PruningStep:
    """Takes the first candidate: the masks a prune after epoch 1 (or half of it) would leave."""
    if moment.state.candidate is not None or outside(moment) is not None:
        return keep(moment)
    state = replace(moment.state, candidate=candidate_masks(moment))
    return PruningStep(moment.masks, state)


def sub_fedavg_after_training(moment: PruningMoment) -> PruningStep:
    """Prunes if training still moved the candidate masks and the accuracy bears the prune.

    Of the two tests, a low accuracy is reported as held_level and candidate masks that no longer
    move as held_drop.

    Source: Sub-FedAvg, unstructured (its code measures on the client's test pictures).
    """
    first = moment.state.candidate
    moment = replace(moment, state=replace(moment.state, candidate=None))
    holding = outside(moment)
    if holding is not None:
        return keep(moment, holding)
    if first is None:
        return keep(moment, PruningDecision("held_level", "nothing was trained"))
    distance = mask_difference(first, candidate_masks(moment))
    reason = f"the candidate masks differ by {distance:.2e}"
    if distance <= moment.settings.mask_distance:
        return keep(moment, PruningDecision("held_drop", reason))
    moment = _with_last_step(moment)
    accuracy = seen_through(moment, candidate_masks(moment), moment.accuracy)
    low = _not_above(moment, accuracy)
    return keep(moment, low) if low else shrink(moment, PruningDecision("pruned", reason))


RULES: dict[str, PruningRule] = {
    "none": PruningRule(),
    "recovery": PruningRule(recover_when_due, recover_after_epoch, recover_after_training),
    "always": PruningRule(always_when_due, always_when_due, always_after_training),
    "lottery": PruningRule(
        before_training=lottery_before_training, after_training=lottery_after_training
    ),
    "sub_fedavg": PruningRule(
        after_epoch=sub_fedavg_after_epoch, after_training=sub_fedavg_after_training
    ),
}
"""The pruning methods by name: FedKLPR is `recovery`, its ablation without CRR `always`."""


def _recover(moment: PruningMoment) -> PruningStep:
    """Lets CRR judge the newest accuracy: prune, hold, or roll back."""
    state, settings = moment.state, moment.settings
    decision = decide_pruning(
        state.recovery,
        settings.recovery,
        accuracy=state.recovery.newest,
        ratio=pruning_ratio(moment.masks),
        target=settings.target,
        round_number=moment.round_number,
        first_round=settings.first_round,
        compare=moment.compare,
    )
    if decision.evidence is not None:
        recovery = replace(state.recovery, evidence=decision.evidence)
        state = replace(state, recovery=recovery)
        moment = replace(moment, state=state)
    if decision.roll_back:
        return _roll_back(moment, decision)
    if not decision.prunes:
        return keep(moment, decision)
    step = shrink(moment, decision)
    if not settings.guard or step.masks is moment.masks:
        return step
    seen = seen_through(moment, step.masks, state.recovery.newest)
    if seen is not None and seen >= settings.recovery.level:
        return step
    reason = f"accuracy through the smaller masks would be {seen}"
    return keep(moment, replace(decision, action="held_level", reason=reason))


def _roll_back(moment: PruningMoment, decision: PruningDecision) -> PruningStep:
    earlier = moment.state.masks_before_last_prune
    if earlier is None:
        return keep(moment, replace(decision, roll_back=False))
    return PruningStep(earlier, replace(moment.state, masks_before_last_prune=None), decision)


def _prune_anyway(moment: PruningMoment) -> PruningStep:
    holding = outside(moment)
    if holding is not None:
        return keep(moment, holding)
    return shrink(moment, PruningDecision("pruned", "this rule never holds"))


def _is_due(moment: PruningMoment) -> bool:
    """Whether `settings.when` is now; asked before training and after each epoch."""
    if moment.settings.when == "before_training":
        return moment.epoch == 0
    # The only epoch of a round is also its last: what comes before it is the round's start.
    return moment.settings.when == "before_last_epoch" and moment.epoch == moment.epochs - 1


def _not_above(moment: PruningMoment, accuracy: float | None) -> PruningDecision | None:
    """Gives the decision to hold, or None where the accuracy is above what the rule asks for."""
    asked = moment.settings.above
    if accuracy is not None and accuracy > asked:
        return None
    return PruningDecision("held_level", f"accuracy {accuracy} is not above {asked}")


def _with_last_step(moment: PruningMoment) -> PruningMoment:
    """Slows the prune that would reach the target, as Sub-FedAvg does."""
    settings = moment.settings
    if settings.target - pruning_ratio(moment.masks) >= settings.rate:
        return moment
    slower = replace(settings, rate=min(settings.rate, settings.last_step))
    return replace(moment, settings=slower)

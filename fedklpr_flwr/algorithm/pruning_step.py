"""The nouns of a pruning schedule: a moment goes into a rule, a step comes out.

PruningSettings   how much, when, and by which accuracy
PruningState      what a client remembers of its prunes
PruningMoment     the weights and masks as they are when a rule is asked
PruningStep       the masks and the state from then on
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fedklpr_flwr.algorithm.masks import Masks, Tensors, pruning_ratio
from fedklpr_flwr.algorithm.pruning_rate import next_rate
from fedklpr_flwr.algorithm.recovery import (
    PruningDecision,
    RecoveryRule,
    RecoveryState,
    outside_window,
    record_accuracy,
    record_prune,
)
from fedklpr_flwr.algorithm.recovery_evidence import Pairs
from fedklpr_flwr.algorithm.smallest_weights import prune_smallest
from fedklpr_flwr.errors import SettingsError

WHEN = ("before_training", "before_last_epoch", "after_training")


@dataclass(frozen=True)
class PruningSettings:
    """How much is pruned and when; the same fields serve every rule.

    Attributes:
        rate: share of the surviving weights that one prune takes, in [0, 1).
        target: the pruning ratio never exceeded, in [0, 1); 0 = never prune.
        first_round: the first round in which anything is pruned, >= 1.
        scope: whether magnitudes are compared within a layer or over the network.
        when: one of WHEN; used by `recovery` and `always`.
        recovery: CRR's levels.
        above: `lottery` and `sub_fedavg` prune while the accuracy is above this, in [0, 1].
        guard: `recovery` keeps the old masks where the accuracy seen through the new ones is
            below `recovery.level`.
        rewind: `lottery` asks for the initial weights after a prune.
        mask_distance: `sub_fedavg` prunes only if its two candidate masks differ by more.
        last_step: `sub_fedavg`'s largest rate where less than `rate` is missing to the target.
        schedule: how large a prune is, see pruning_rate.py.
    """

    rate: float = 0.1
    target: float = 0.5
    first_round: int = 2
    scope: str = "layer"
    when: str = "before_training"
    recovery: RecoveryRule = field(default_factory=RecoveryRule)
    above: float = 0.5
    guard: bool = False
    rewind: bool = False
    mask_distance: float = 1e-4
    last_step: float = 0.05
    schedule: str = "geometric"

    def __post_init__(self) -> None:
        """Refuses what no schedule can follow."""
        if self.when not in WHEN:
            raise SettingsError(f"pruning.when must be one of {WHEN}, it is {self.when!r}")
        for name, value in (("rate", self.rate), ("target", self.target)):
            if not 0 <= value < 1:
                raise SettingsError(f"pruning.{name} must be in [0, 1), it is {value}")


@dataclass(frozen=True)
class PruningState:
    """What a client remembers of its prunes.

    Attributes:
        recovery: accuracies and prunes; kept from round to round (`to_dict` is JSON-able).
        masks_before_last_prune: the masks to roll back to; kept from round to round, None unless
            `recovery.rollback` is on.
        candidate: `sub_fedavg`'s first candidate masks; None between rounds.
    """

    recovery: RecoveryState = field(default_factory=RecoveryState)
    masks_before_last_prune: Masks | None = None
    candidate: Masks | None = None


@dataclass(frozen=True)
class PruningMoment:
    """All that a rule may look at, at the moment it is asked; it changes none of it.

    Attributes:
        tensors: name -> float tensor, the weights as they are now.
        masks: name -> bool tensor, the masks they lie behind.
        state: what the client remembers.
        settings: how much and when.
        round_number: this round, 1..R.
        epoch: epochs of this round that have ended: 0 before training, 0.5 in the middle of the
            only epoch, else 1..epochs.
        epochs: epochs of this round, >= 1.
        accuracy: training accuracy of the epoch that has just ended, in [0, 1]; None before
            training and where nothing was trained.
        accuracy_through: gives the accuracy of the weights as they are now, seen through the given
            masks, and leaves the weights as they were. None where it cannot be measured; then a
            check after a prune falls back to the accuracy before it.
        compare: gives the pictures judged by the model before the last prune and by the weights as
            they are now; None, or of None, where there is nothing to compare with.
    """

    tensors: Tensors
    masks: Masks
    state: PruningState
    settings: PruningSettings
    round_number: int
    epoch: float = 0
    epochs: int = 1
    accuracy: float | None = None
    accuracy_through: Callable[[Masks], float | None] | None = None
    compare: Callable[[], Pairs | None] | None = None


@dataclass(frozen=True)
class PruningStep:
    """What a rule answers; the caller applies the masks to the weights and carries the state on.

    Attributes:
        masks: the masks from now on; the very same object where nothing changes.
        state: the state from now on.
        decision: what was decided; None where this moment decides nothing. The last one of a
            round is the round's `crr`, which is `off` where there was none. Where it says
            roll_back the masks have grown, and what they revive takes the received global value.
        rewind: all weights go back to their initial values, behind the new masks.
    """

    masks: Masks
    state: PruningState
    decision: PruningDecision | None = None
    rewind: bool = False


def keep(moment: PruningMoment, decision: PruningDecision | None = None) -> PruningStep:
    """Gives the step that changes neither masks nor state."""
    return PruningStep(moment.masks, moment.state, decision)


def shrink(moment: PruningMoment, decision: PruningDecision) -> PruningStep:
    """Gives the step that prunes once, or says at_target where not one weight is missing to it."""
    smaller = candidate_masks(moment)
    ratio = pruning_ratio(moment.masks)
    if pruning_ratio(smaller) == ratio:
        reason = f"no weight is left to prune at {ratio:.4f}"
        return keep(moment, replace(decision, action="at_target", reason=reason))
    state, settings = moment.state, moment.settings
    recovery = record_prune(state.recovery, moment.round_number, state.recovery.newest)
    before = moment.masks if settings.recovery.rollback else None
    state = replace(state, recovery=recovery, masks_before_last_prune=before)
    return PruningStep(smaller, state, decision)


def candidate_masks(moment: PruningMoment) -> Masks:
    """Gives the masks that the schedule's next prune would leave."""
    settings = moment.settings
    chosen = settings.schedule, settings.rate, settings.target
    return prune_smallest(
        moment.tensors,
        moment.masks,
        next_rate(pruning_ratio(moment.masks), *chosen),
        floor_density=1.0 - settings.target,
        scope=settings.scope,
    )


def outside(moment: PruningMoment) -> PruningDecision | None:
    """Gives the decision off or at_target, or None where pruning is open."""
    return outside_window(
        ratio=pruning_ratio(moment.masks),
        target=moment.settings.target,
        round_number=moment.round_number,
        first_round=moment.settings.first_round,
    )


def remember_accuracy(moment: PruningMoment) -> PruningMoment:
    """Gives the moment whose state also knows the accuracy that training has just had."""
    recovery = record_accuracy(moment.state.recovery, moment.round_number, moment.accuracy)
    return replace(moment, state=replace(moment.state, recovery=recovery))


def seen_through(moment: PruningMoment, masks: Masks, otherwise: float | None) -> float | None:
    """Gives the accuracy through other masks, or `otherwise` where it cannot be measured."""
    if moment.accuracy_through is None:
        return otherwise
    return moment.accuracy_through(masks)

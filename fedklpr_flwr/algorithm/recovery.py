"""Cross-round recovery: a client prunes on only when its accuracy is high and has not fallen.

Two stages, once a round, at the moment the client would prune (paper: CRR):

    level:        a_t >= tau_acc
    cross-round:  a_t >= a_ref - eps_drop

In round 1 (the paper's t = 0) nothing is pruned; a first accuracy has nothing to have fallen from,
so in round 2 the level alone decides. Both true: prune. Otherwise the mask stays, training goes on,
and the weights recover.

The second stage is a difference of two shares, which on a few hundred samples moves by chance alone
more than eps_drop: `RecoveryRule.test` may have it judged on pairs instead (recovery_evidence.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fedklpr_flwr.algorithm.recovery_evidence import TESTS, VERDICTS, Evidence, Pairs
from fedklpr_flwr.errors import MemoryStateError, SettingsError

REFERENCES = ("before_last_prune", "previous_round", "best")

# Shares such as .80 - .01 are not exact in floats; a threshold met exactly must count as met.
_ROUNDING = 1e-9
# A step of less than this would cost a new mask on the wire and prune next to nothing.
_SMALLEST_STEP = 1e-5


@dataclass(frozen=True)
class RecoveryRule:
    """When a client may prune on.

    Attributes:
        level: tau_acc, the accuracy below which nothing is pruned, in [0, 1].
        drop: eps_drop, how far the accuracy may lie below the reference, in [0, 1].
        reference: what a_ref is. `before_last_prune`: the accuracy judged at the last prune;
            before any prune, the previous round's. `previous_round`: as it says; forgives any
            fall after one round. `best`: the best so far; alone in seeing a fall that is slower
            than `drop` per prune.
        rollback: when the cross-round stage fails right after a prune, ask for the mask held
            before that prune.
        test: how the cross-round stage is judged. `threshold`: as above. `paired`, `sequential`: on
            the same pictures seen by the model before the last prune and by the model now, see
            recovery_evidence.py; `drop` is then the fall that does not matter.
        patience: rounds running that a test on pairs holds at most. The model before the prune
            stays what all are compared with meanwhile: where that one was lucky, chance alone
            would hold for long. None = no limit.
    """

    level: float = 0.5
    drop: float = 0.01
    reference: str = "before_last_prune"
    rollback: bool = False
    test: str = "threshold"
    patience: int | None = 2

    def __post_init__(self) -> None:
        """Refuses a rule that no accuracy could meet or break."""
        if self.reference not in REFERENCES:
            raise SettingsError(
                f"crr.reference must be one of {REFERENCES}, it is {self.reference!r}"
            )
        if self.test not in TESTS:
            raise SettingsError(f"crr.test must be one of {TESTS}, it is {self.test!r}")
        if not (0 <= self.level <= 1 and 0 <= self.drop <= 1):
            raise SettingsError(
                f"crr.level and crr.drop must be in [0, 1], they are {self.level} and {self.drop}"
            )


@dataclass(frozen=True)
class RecoveryState:
    """What a client remembers of its accuracies and prunes, from round to round.

    Attributes:
        history: (round, accuracy) of every round in which one was measured, oldest first.
        newest: the accuracy measured since the last prune; None right after a prune, so that one
            measurement never allows two prunes.
        accuracy_before_last_prune: the accuracy judged at the last prune.
        last_prune_round: the round of the last prune.
        best: the best accuracy so far.
        evidence: what a test on pairs carries from round to round.
    """

    history: tuple[tuple[int, float], ...] = ()
    newest: float | None = None
    accuracy_before_last_prune: float | None = None
    last_prune_round: int | None = None
    best: float | None = None
    evidence: Evidence = field(default_factory=Evidence)

    def to_dict(self) -> dict[str, Any]:
        """Gives the state as plain values that JSON can hold."""
        history = [list(entry) for entry in self.history]
        return {**asdict(self), "history": history, "evidence": self.evidence.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RecoveryState":
        """Reads what `to_dict` gave.

        Raises:
            MemoryStateError: a field is missing or of another kind.
        """
        try:
            last_prune_round = values["last_prune_round"]
            return cls(
                history=tuple((int(number), float(value)) for number, value in values["history"]),
                newest=_optional(values["newest"]),
                accuracy_before_last_prune=_optional(values["accuracy_before_last_prune"]),
                last_prune_round=None if last_prune_round is None else int(last_prune_round),
                best=_optional(values["best"]),
                # Memories that were written before there was a test on pairs have none.
                evidence=Evidence.from_dict(values.get("evidence") or Evidence().to_dict()),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MemoryStateError(
                f"a client's pruning memory must hold the fields of RecoveryState, it holds "
                f"{dict(values)!r}: delete that client's memory, it starts again with a full mask"
            ) from error


@dataclass(frozen=True)
class PruningDecision:
    """What recovery decided, and by what.

    Attributes:
        action: pruned | held_level | held_drop | at_target | off (run.jsonl's field `crr`).
        reason: one sentence with the figures, for the log.
        reference: a_ref; None where the cross-round stage was not reached or has none.
        roll_back: the mask held before the last prune is to be restored.
        pairs: what a test on pairs looked at; None where none was asked.
        statistic: what it made of them, see recovery_evidence.Verdict; None likewise.
        evidence: what it carries on; None likewise.
    """

    action: str
    reason: str
    reference: float | None = None
    roll_back: bool = False
    pairs: Pairs | None = None
    statistic: float | None = None
    evidence: Evidence | None = None

    @property
    def prunes(self) -> bool:
        """Whether the mask is to shrink now."""
        return self.action == "pruned"


def record_accuracy(
    state: RecoveryState, round_number: int, accuracy: float | None
) -> RecoveryState:
    """Gives the state that also knows a round's accuracy; it comes before the decision on it.

    Args:
        state: the state so far.
        round_number: the round the accuracy was measured in; a second one in the same round
            takes the place of the first.
        accuracy: in [0, 1]; None (nothing was trained) leaves the state as it is.

    Returns:
        The new state.

    Raises:
        SettingsError: the accuracy is not in [0, 1].
    """
    if accuracy is None:
        return state
    if not 0 <= accuracy <= 1:
        raise SettingsError(f"an accuracy must be a share in [0, 1], it is {accuracy}")
    earlier = tuple(entry for entry in state.history if entry[0] != round_number)
    best = accuracy if state.best is None else max(state.best, accuracy)
    return replace(state, history=(*earlier, (round_number, accuracy)), newest=accuracy, best=best)


def record_prune(state: RecoveryState, round_number: int, accuracy: float | None) -> RecoveryState:
    """Gives the state that also knows of a prune in this round, allowed by this accuracy."""
    return replace(
        state,
        accuracy_before_last_prune=accuracy,
        last_prune_round=round_number,
        newest=None,
    )


def outside_window(
    *, ratio: float, target: float, round_number: int, first_round: int
) -> PruningDecision | None:
    """Gives the decision of a client that may not prune yet (off) or any more (at_target).

    Args:
        ratio: p_k now, in [0, 1].
        target: p_target, in [0, 1].
        round_number: this round, 1..R.
        first_round: the first round in which pruning is allowed.

    Returns:
        None between the two, where pruning is open.
    """
    if round_number < first_round:
        return PruningDecision("off", f"no pruning before round {first_round}")
    if ratio >= target - _SMALLEST_STEP:
        return PruningDecision("at_target", f"pruned {ratio:.4f} of the target {target:.4f}")
    return None


def decide_pruning(
    state: RecoveryState,
    rule: RecoveryRule,
    *,
    accuracy: float | None,
    ratio: float,
    target: float,
    round_number: int,
    first_round: int,
    compare: Callable[[], Pairs | None] | None = None,
) -> PruningDecision:
    """Decides whether a client prunes now, holds, or has arrived.

    Args:
        state: with this accuracy already recorded, as its newest entry.
        rule: levels and reference.
        accuracy: a_t, the newest training accuracy; None where there is none since the last
            prune.
        ratio: p_k now, in [0, 1].
        target: p_target, in [0, 1].
        round_number: this round, 1..R.
        first_round: the first round in which pruning is allowed.
        compare: gives the pairs for `rule.test`, asked only where they decide; None, or of None
            pairs, where nothing has been pruned yet or the pictures are others.

    Returns:
        The decision. With level = 0 and drop = 1 it prunes every round once there is an accuracy.

    Source: FedKLPR's CRR: two stages and halting are stated; thresholds and reference are this
        project's reading (docs/decisions.md).
    """
    outside = outside_window(
        ratio=ratio, target=target, round_number=round_number, first_round=first_round
    )
    if outside is not None:
        return outside
    if accuracy is None:
        return PruningDecision("held_level", "no accuracy has been measured since the last prune")
    if accuracy < rule.level - _ROUNDING:
        reason = f"accuracy {accuracy:.4f} is below the level {rule.level:.4f}"
        return PruningDecision("held_level", reason)
    if rule.test != "threshold":
        return _on_evidence(state, rule, compare() if compare else None, round_number)
    reference = _reference(state, rule)
    if reference is None and round_number < 2:
        return PruningDecision("held_drop", "there is no earlier round to compare with")
    if reference is None:
        return PruningDecision("pruned", f"accuracy {accuracy:.4f} has nothing to have fallen from")
    if accuracy < reference - rule.drop - _ROUNDING:
        return PruningDecision(
            "held_drop",
            f"accuracy {accuracy:.4f} is more than {rule.drop:.4f} below {reference:.4f}",
            reference,
            rule.rollback and _just_pruned(state, round_number),
        )
    reason = f"accuracy {accuracy:.4f} holds against {reference:.4f}"
    return PruningDecision("pruned", reason, reference)


def _on_evidence(
    state: RecoveryState, rule: RecoveryRule, pairs: Pairs | None, round_number: int
) -> PruningDecision:
    """The cross-round stage on pairs: holds where the model is worse than before the last prune."""
    if pairs is None:
        return PruningDecision("pruned", "there is no model before a prune to compare with")
    verdict = VERDICTS[rule.test](state.evidence, pairs, rule.drop)
    reason = (
        f"of {pairs.compared} pictures {pairs.worse} became wrong and {pairs.better} right, "
        f"{rule.test} statistic {verdict.statistic:.2f}"
    )
    fallen, held = verdict.fallen, state.evidence.held
    after = replace(verdict.after, held=held + 1 if fallen else 0)
    if fallen and rule.patience is not None and held >= rule.patience:
        reason += f", for longer than {rule.patience} rounds: it goes on"
        fallen, after = False, Evidence()
    return PruningDecision(
        "held_drop" if fallen else "pruned",
        reason,
        roll_back=fallen and rule.rollback and _just_pruned(state, round_number),
        pairs=pairs,
        statistic=verdict.statistic,
        evidence=after,
    )


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _reference(state: RecoveryState, rule: RecoveryRule) -> float | None:
    previous = state.history[-2][1] if len(state.history) > 1 else None
    if rule.reference == "previous_round":
        return previous
    if rule.reference == "best":
        return None if previous is None else state.best
    if state.accuracy_before_last_prune is not None:
        return state.accuracy_before_last_prune
    return previous


def _just_pruned(state: RecoveryState, round_number: int) -> bool:
    """Whether the client's last round before this one was the one it last pruned in."""
    earlier = [number for number, _ in state.history if number < round_number]
    return bool(earlier) and earlier[-1] == state.last_prune_round

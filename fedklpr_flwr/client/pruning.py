"""One client's mask through a round: the pruning rule has its moments, and the network follows.

When and how much is algorithm/pruning_rules.py and pruning_rate.py, which weights go
algorithm/smallest_weights.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from fedklpr_flwr.algorithm.masks import (
    Masks,
    Tensors,
    apply_mask,
    mask_hash,
    pruning_ratio,
)
from fedklpr_flwr.algorithm.pruning_rules import RULES
from fedklpr_flwr.algorithm.pruning_step import (
    PruningMoment,
    PruningSettings,
    PruningState,
    PruningStep,
    candidate_masks,
    outside,
)
from fedklpr_flwr.algorithm.recovery import PruningDecision, RecoveryRule
from fedklpr_flwr.algorithm.recovery_evidence import Pairs
from fedklpr_flwr.algorithm.regrowth import regrow_share, regrown_masks
from fedklpr_flwr.client.compared_pairs import compared_pairs, remembered_features
from fedklpr_flwr.client.state_store import ClientMemory
from fedklpr_flwr.config.round_overrides import first_prune
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.device import all_on_host, all_to, device_of
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.reid.network import ReidNetwork, float_state


@dataclass(frozen=True)
class Shared:
    """What all clients prune by, where they do so alike.

    Attributes:
        consensus: this round's masks of all, which take the rule's place; None = each has its own.
        pooled: what all together saw of the model (`crr.pooled`); None = nothing yet.
    """

    consensus: Masks | None = None
    pooled: Pairs | None = None


_ALONE = Shared()


class ClientPruning:
    """The mask, what the rule remembers, and what it last decided.

    `marked` are the weights that the round's prune is to take, where it follows some training and
    `pruning.extrude` is on. `labels` are those that a comparison of two models is made by: the last
    epoch's, which the caller sets when there are newer ones than the memory's.

    Args:
        network: the client's network; pruned weights are set to zero in place. Masks lie on its
            device.
        site: the client's pictures, for batch norm that is re-estimated after a prune.
        memory: what the client left its last merged round with.
        settings: the run's settings.
        round_number: this round, 1..R.
        initial: the initial weights, for rules that rewind.
        shared: what all clients prune by, where they do so alike.
    """

    def __init__(
        self,
        network: ReidNetwork,
        site: Site,
        memory: ClientMemory,
        settings: Settings,
        round_number: int,
        initial: Mapping[str, torch.Tensor] | None,
        shared: Shared = _ALONE,
    ) -> None:
        self._network, self._site, self._settings = network, site, settings
        self._round, self._initial = round_number, initial
        self._rule = RULES[settings.method.pruning if shared.consensus is None else "none"]
        device = device_of(network)
        consensus = shared.consensus
        self._consensus = None if consensus is None else all_to(consensus, device)
        earlier = memory.masks_before_last_prune
        self.masks: Masks = all_to(memory.masks, device)
        before = None if earlier is None else all_to(earlier, device)
        self.state = PruningState(memory.recovery, before)
        self.before_prune: Mapping[str, torch.Tensor] = all_to(memory.before_prune, device)
        self.crr = "off"
        self._regrown = False
        self._pooled = shared.pooled
        self.pairs = Pairs()
        self.statistic: float | None = None
        self.marked: Masks = {}
        self.labels = memory.judged_labels
        self._reference = memory.reference_features
        self._reference_labels = memory.reference_labels

    @property
    def ratio(self) -> float:
        """Share of the prunable weights that are pruned."""
        return pruning_ratio(self.masks) if self.masks else 0.0

    def memory(self, round_number: int) -> ClientMemory:
        """What of the mask and the rule is kept after a round, on the host."""
        earlier = self.state.masks_before_last_prune
        return ClientMemory(
            round=round_number,
            masks=all_on_host(self.masks),
            recovery=self.state.recovery,
            masks_before_last_prune=None if earlier is None else all_on_host(earlier),
            before_prune=all_on_host(self.before_prune),
            reference_features=self._reference,
            reference_labels=self._reference_labels,
            judged_labels=self.labels if self._compares else None,
        )

    def before_training(self) -> None:
        """The received weights lie behind the mask, nothing is trained yet."""
        if self._consensus is not None:
            self._take(self._consensus)
        self._step(self._rule.before_training, 0, None, None)
        moment = self._moment(0, None, None)
        if self._settings.pruning.extrude and outside(moment) is None:
            taken = candidate_masks(moment)
            self.marked = {name: mask & ~taken[name] for name, mask in self.masks.items()}

    def _take(self, consensus: Masks) -> None:
        """Go behind the masks of all clients, as the round's prune where they are smaller."""
        further = pruning_ratio(consensus) > self.ratio
        waiting = self._round < first_prune(self._settings)
        action = "pruned" if further else "off" if waiting else "at_target"
        decision = PruningDecision(action, "all clients prune by one schedule")
        masks = consensus if mask_hash(consensus) != mask_hash(self.masks) else self.masks
        self._follow(PruningStep(masks, self.state, decision))

    def after_epoch(
        self,
        epoch: float,
        accuracy: float | None,
        accuracy_through: Callable[[Masks], float | None],
    ) -> None:
        """An epoch has ended; epoch 0.5 is the middle of a round's only epoch."""
        self._step(self._rule.after_epoch, epoch, accuracy, accuracy_through)

    def after_training(
        self, accuracy: float | None, accuracy_through: Callable[[Masks], float | None]
    ) -> None:
        """The last epoch has ended."""
        epochs = self._settings.training.epochs
        self._step(self._rule.after_training, epochs, accuracy, accuracy_through)

    @property
    def regrows(self) -> bool:
        """Whether weights are to come back in this round: after a prune, and at the target."""
        due = self.crr in ("pruned", "at_target") and not self._regrown
        return due and self._settings.pruning.regrow > 0

    def regrow(self, gradients: Tensors) -> None:
        """Let kept weights change places with pruned ones, by a batch's gradients."""
        rounds, first = self._settings.federation.rounds, self._settings.pruning.regrow
        share = regrow_share(first, min(self._round, rounds), rounds)
        state = float_state(self._network)
        self.masks = regrown_masks(state, self.masks, gradients, share)
        self._regrown = True
        apply_mask(state, self.masks)

    def _step(
        self,
        hook: Callable[[PruningMoment], PruningStep],
        epoch: float,
        accuracy: float | None,
        accuracy_through: Callable[[Masks], float | None] | None,
    ) -> None:
        self._follow(hook(self._moment(epoch, accuracy, accuracy_through)))

    def _moment(
        self,
        epoch: float,
        accuracy: float | None,
        accuracy_through: Callable[[Masks], float | None] | None,
    ) -> PruningMoment:
        return PruningMoment(
            tensors=float_state(self._network),
            masks=self.masks,
            state=self.state,
            settings=pruning_settings(self._settings),
            round_number=self._round,
            epoch=epoch,
            epochs=self._settings.training.epochs,
            accuracy=accuracy,
            accuracy_through=accuracy_through,
            compare=self._compare if self._compares else None,
        )

    def _follow(self, step: PruningStep) -> None:
        state = float_state(self._network)
        if step.rewind and self._initial is not None:
            _copy_into(state, self._initial)
        if step.decision is not None:
            self.crr = step.decision.action
            if not self._settings.crr.pooled:  # else its own are told with the evaluation
                self.pairs = step.decision.pairs or self.pairs
            self.statistic = step.decision.statistic
            if step.decision.roll_back:
                self._revive(state, step.masks)
            elif step.decision.prunes:
                self._remember(state)
                self.marked = {}
        changed = step.masks is not self.masks
        self.masks, self.state = step.masks, step.state
        if changed:
            apply_mask(state, self.masks)
            if self._settings.pruning.batchnorm == "reestimate":
                reestimate_on(self._network, self._site)

    @property
    def _compares(self) -> bool:
        recovers = self._settings.method.pruning == "recovery"
        return recovers and self._settings.crr.test != "threshold"

    def _compare(self) -> Pairs | None:
        if self._settings.crr.pooled:
            return self._pooled
        labels = self._reference_labels, self.labels
        return compared_pairs(self._network, self._site, self._reference, *labels)

    def _remember(self, state: Mapping[str, torch.Tensor]) -> None:
        """Keep what a later round goes back to, or compares with: the network before a prune."""
        if self._settings.crr.rollback:
            self.before_prune = {name: state[name].clone() for name in self.masks}
        if self._compares:
            self._reference = remembered_features(self._network, self._site)
            self._reference_labels = self.labels

    def _revive(self, state: Mapping[str, torch.Tensor], masks: Masks) -> None:
        """Give revived weights the received values they had when they were pruned."""
        with torch.no_grad():
            for name, earlier in self.before_prune.items():
                revived = masks[name] & ~self.masks[name]
                state[name].copy_(torch.where(revived, earlier, state[name]))


def pruning_settings(settings: Settings) -> PruningSettings:
    """The pruning rule's own settings from the run's."""
    crr, chosen = settings.crr, settings.pruning
    return PruningSettings(
        rate=chosen.rate,
        target=chosen.target,
        first_round=first_prune(settings),
        when=chosen.when,
        recovery=RecoveryRule(
            crr.level, crr.drop, crr.reference, crr.rollback, crr.test, crr.patience
        ),
        above=chosen.above,
        guard=chosen.guard,
        scope=chosen.scope,
        rewind=chosen.rewind,
        mask_distance=chosen.mask_distance,
        schedule=chosen.schedule,
    )


def _copy_into(state: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)

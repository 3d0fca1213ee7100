"""What an update and a model of a planned run take on the wire, at each density it will have."""

import time
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedklpr_flwr.algorithm.masks import Masks
from fedklpr_flwr.algorithm.smallest_weights import prune_smallest
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.protocol.change_reference import step_share, tells_changes, weight_step
from fedklpr_flwr.protocol.update_codec import uses_delta
from fedklpr_flwr.wire.change_codec import ChangeWriter
from fedklpr_flwr.wire.codec import encode
from fedklpr_flwr.wire.layout import Layout


@dataclass(frozen=True)
class PayloadSizes:
    """Encodes a client's round as the run will.

    Attributes:
        settings: the run's.
        layout: what travels.
        masks: of the prunable weights, all kept.
        arrays: the model that a client receives.
        trained: the model after a few of its steps.
    """

    settings: Settings
    layout: Layout
    masks: Masks
    arrays: dict[str, np.ndarray]
    trained: dict[str, np.ndarray]

    def by_density(
        self, state: dict[str, Tensor]
    ) -> tuple[tuple[tuple[float, int, int, int], ...], float]:
        """Payload bytes as `Probed.sizes` has them, and the seconds that the dense model takes.

        Args:
            state: the network's tensors, by which it is pruned.
        """
        chosen, steps = self.settings.pruning, self.settings.wire.step
        sizes, encoding = [], 0.0
        densities = (1.0, 1 - chosen.rate, 1 - chosen.target) if self.masks else (1.0,)
        for density in sorted({*densities}, reverse=True):
            floor = {"floor_density": density}
            masks = prune_smallest(state, self.masks, min(1 - density, 0.99), **floor)
            cut = {name: mask.numpy() for name, mask in masks.items() if name in self.arrays}
            started = time.perf_counter()
            down = self._encoded(cut, known=cut, way=steps.down)
            encoding = encoding or time.perf_counter() - started
            changed, kept = (
                self._encoded(cut, known=known, way=steps.up, up=True) for known in ({}, cut)
            )
            sizes.append((density, down, changed, kept))
        return tuple(sizes), encoding

    def _encoded(
        self,
        masks: dict[str, np.ndarray],
        known: dict[str, np.ndarray],
        way: float,
        *,
        up: bool = False,
    ) -> int:
        wire = self.settings.wire
        if tells_changes(self.settings):
            return self._changed(masks, known, way)
        payload = encode(
            self.trained if up else self.arrays,
            masks,
            layout=self.layout,
            known_masks=known,
            values=wire.values if up else wire.whole,
            level=wire.level,
            reference=self.arrays if up and uses_delta(self.settings) else None,
        )
        return len(payload)

    def _changed(
        self, masks: dict[str, np.ndarray], known: dict[str, np.ndarray], way: float
    ) -> int:
        """Mean bytes a round of a change as dense as any: Gaussian, of one scale a tensor."""
        rounds = range(1, self.settings.federation.rounds + 1)
        phases: dict[float, list[int]] = {}
        for number in rounds:
            step = weight_step(way, self.settings, number)
            phases.setdefault(step, []).append(number)
        sizes = [
            len(numbers) * self._changed_in(numbers[0], masks, known, way)
            for numbers in phases.values()
        ]
        return round(sum(sizes) / len(rounds))

    def _changed_in(
        self,
        number: int,
        masks: dict[str, np.ndarray],
        known: dict[str, np.ndarray],
        way: float,
    ) -> int:
        generator = np.random.default_rng(0)
        writer = ChangeWriter(masks, known, self.layout)
        for spec in self.layout:
            change = generator.standard_normal(spec.shape, np.float32)
            share = step_share(spec, way, self.settings, number)
            writer.add(spec, np.asarray(change), np.zeros(spec.shape, np.float32), share)
        return len(writer.seal())

"""Training steps behind a mask: gradients and weights of pruned coordinates are zero after each."""

import torch

from fedklpr_flwr.algorithm.masks import Masks, Tensors, check_fit


class MaskedSteps:
    """A network's masks made ready for many steps: checked, inverted and laid beside its weights.

    Args:
        parameters: name -> parameter, each of which stays the same tensor from step to step.
        masks: name -> bool tensor of the same shape, on any device; True = kept.

    Raises:
        WeightsError: a mask's name or shape is not the parameter's.
    """

    def __init__(self, parameters: Tensors, masks: Masks) -> None:
        self._pruned = []
        for name, mask in masks.items():
            check_fit(parameters, name, mask)
            weight = parameters[name]
            # In the weight's own layout, or every step would walk the two in different orders.
            pruned = torch.empty_like(weight, dtype=torch.bool, requires_grad=False)
            self._pruned.append((weight, pruned.copy_(~mask)))

    def mask_gradients(self) -> None:
        """Sets the gradients of pruned weights to zero, in place, between backward and step.

        Weight decay and Adam's momentum still move a weight whose gradient is zero: use
        `mask_weights` after the step as well.
        """
        for weight, pruned in self._pruned:
            if weight.grad is not None:
                weight.grad.masked_fill_(pruned, 0.0)

    @torch.no_grad()
    def mask_weights(self) -> None:
        """Sets every pruned weight to +0, in place."""
        for weight, pruned in self._pruned:
            weight.masked_fill_(pruned, 0.0)

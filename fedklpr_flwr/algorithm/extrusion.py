"""A penalty on the weights that will be pruned next, so that others take over their work before."""

import torch

from fedklpr_flwr.algorithm.masks import Masks, Tensors, check_fit


class Extrusion:
    """Draws marked weights towards zero, and leaves all others alone.

        L <- L + weight sum_{j marked} theta_j^2

    Args:
        parameters: name -> parameter, each of which stays the same tensor from step to step.
        marked: name -> bool tensor of the same shape, True = pruned next.

    Raises:
        WeightsError: a mark's name or shape is not the parameter's.

    Source: FedMef (2403.14737), budget-aware extrusion; that the weight grows by epoch is ours.
    """

    def __init__(self, parameters: Tensors, marked: Masks) -> None:
        self._marked = []
        for name, marks in marked.items():
            check_fit(parameters, name, marks)
            self._marked.append((parameters[name], marks.to(parameters[name].device)))

    @torch.no_grad()
    def add_gradients(self, weight: float) -> None:
        """Adds the penalty's gradient 2 weight theta_j, in place, between backward and step.

        Args:
            weight: of the penalty, >= 0; 0 changes nothing.
        """
        if weight == 0:
            return
        for parameter, marks in self._marked:
            if parameter.grad is not None:
                parameter.grad.add_(parameter * marks, alpha=2 * weight)

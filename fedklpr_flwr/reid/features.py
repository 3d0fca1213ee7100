"""Features of many pictures, as a network draws them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def extract_features(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Draw the features of all pictures, in their order, without training anything.

    Args:
        network: maps (B,3,H,W) to (B,D), such as `ReidNetwork`; used in evaluation mode and handed
            back in the mode it came in.
        batches: (B,3,H,W) float32 each, on the host or on the network's device.

    Returns:
        (N,D) float32, on the network's device; (0,0) where there is no batch.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        parts = []
        for batch in batches:
            with torch.inference_mode():
                parts.append(network(batch))
    finally:
        for module, mode in modes.items():
            module.training = mode
    # Joined outside the inference mode: a tensor made in it cannot take part in a loss later on.
    return torch.cat(parts) if parts else torch.empty(0, 0)

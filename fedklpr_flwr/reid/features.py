"""Features of many pictures, as a network draws them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fedklpr_flwr.errors import BrokenModel


def extract_features(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Draw the features of all pictures, in their order, without training anything.

    Args:
        network: maps (B,3,H,W) to (B,D), such as `ReidNetwork`; used in evaluation mode and handed
            back in the mode it came in.
        batches: (B,3,H,W) float32 each, on the host or on the network's device.

    Returns:
        (N,D) float32, finite, on the network's device; (0,0) where there is no batch.

    Raises:
        BrokenModel: a feature is infinite or no number.
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
    features = torch.cat(parts) if parts else torch.empty(0, 0)
    check_finite(features)
    return features


def check_finite(features: Tensor) -> None:
    """Refuse features that are infinite or no numbers.

    Nothing is more similar to such a picture than any other, so that each of its right pictures
    would take the first place: a broken model would be scored as perfect.

    Args:
        features: (N,D) of any floating-point type.

    Raises:
        BrokenModel: there is such a row.
    """
    if not bool(torch.isfinite(features).all()):
        wrong = int((~torch.isfinite(features)).any(dim=1).sum())
        raise BrokenModel(
            f"the features of {wrong} of {len(features)} pictures are infinite or no numbers: the "
            "model is broken (its weights are, or its numbers overflow on the way); train with a "
            "smaller training.learning_rate (with privacy=local_dp also a smaller privacy.clip, "
            "whose noise is smaller with it), or start anew from a round before"
        )

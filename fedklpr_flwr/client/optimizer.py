"""The optimizer of local training, made anew each round."""

import torch

from fedklpr_flwr.config.settings import Training
from fedklpr_flwr.model.device import device_of
from fedklpr_flwr.reid.network import ReidNetwork


def adam(network: ReidNetwork, training: Training, rate: float) -> torch.optim.Optimizer:
    """A new Adam over all that is trained; on a CUDA device one kernel moves all weights.

    Args:
        network: on the device it will be trained on.
        training: for the weight decay.
        rate: the learning rate.
    """
    trained = [value for value in network.parameters() if value.requires_grad]
    fused = True if device_of(network).type == "cuda" else None
    return torch.optim.Adam(trained, lr=rate, weight_decay=training.weight_decay, fused=fused)

"""Tensors on their way from the host to where a network computes."""

import torch
from torch import Tensor


def copied_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor to a device, without waiting for what the device is still busy with.

    Args:
        tensor: any tensor; on the host or on the device itself.
        device: where it is needed.

    Returns:
        The same values there; the tensor itself where it is there already.
    """
    if tensor.device == device:
        return tensor
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    # Only from pinned memory does a copy leave the host free to go on.
    return tensor.pin_memory().to(device, non_blocking=True)

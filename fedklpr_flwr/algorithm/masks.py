"""Masks of a pruned model: which weights may go at all, which are kept, and how many have gone.

A mask is a bool tensor of its weight's shape, True where the weight is kept. Masks are always
explicit, never `weight != 0`: a kept weight may be exactly zero.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fedklpr_flwr.errors import WeightsError

Masks = Mapping[str, Tensor]
Tensors = Mapping[str, Tensor]


def prunable_weights(
    network: nn.Module, *, depthwise: bool = False, stem: bool = False
) -> tuple[str, ...]:
    """Names the convolution weights that may be pruned, as state_dict names them.

    Batch-norm weights, biases, linear layers and buffers always stay dense. So do, unless asked
    for, depthwise convolutions and the stem: small, fragile, and nothing is saved by them.

    Args:
        network: any torch network.
        depthwise: also prune convolutions with groups == in_channels > 1.
        stem: also prune the convolution that reads the picture (in_channels == 3).

    Returns:
        Names in the network's own order; empty for a network without convolutions.

    Source: both parents prune every "weight", batch norm included, an accident of LeNet.
    """
    names = []
    for module_name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        is_depthwise = module.groups == module.in_channels > 1
        is_stem = module.in_channels == 3
        if (depthwise or not is_depthwise) and (stem or not is_stem):
            names.append(f"{module_name}.weight" if module_name else "weight")
    return tuple(names)


def full_mask(tensors: Tensors, names: Sequence[str]) -> dict[str, Tensor]:
    """Gives the mask of a client that has pruned nothing.

    Args:
        tensors: name -> tensor; each of `names` must be among them.
        names: the prunable tensors, as `prunable_weights` gives them.

    Returns:
        name -> bool tensor, all True, on the tensor's device.

    Raises:
        WeightsError: a name is not among the tensors.
    """
    absent = [name for name in names if name not in tensors]
    if absent:
        raise WeightsError(
            f"prunable tensors must be among the model's, {absent[0]!r} is not: take the names "
            "from prunable_weights of the same network"
        )
    return {name: torch.ones_like(tensors[name], dtype=torch.bool) for name in names}


def apply_mask(tensors: Tensors, masks: Masks) -> None:
    """Sets every pruned weight to +0, in place.

    It writes into the given tensors' storage, so given a network's state_dict (or its
    parameters) it changes the network. A NaN under the mask becomes zero as well.

    Args:
        tensors: name -> float tensor; changed in place.
        masks: name -> bool tensor of the same shape; tensors without a mask are left alone.

    Raises:
        WeightsError: a mask's name or shape is not the tensor's.
    """
    with torch.no_grad():
        for name, mask in masks.items():
            check_fit(tensors, name, mask)
            tensors[name].masked_fill_(~mask, 0.0)


def pruning_ratio(masks: Masks) -> float:
    """Gives p = 1 - kept / prunable over all tensors together.

    Args:
        masks: name -> bool tensor.

    Returns:
        p in [0, 1]; 0 for full masks and where nothing is prunable.
    """
    total = sum(mask.numel() for mask in masks.values())
    if total == 0:
        return 0.0
    return (total - sum(int(torch.count_nonzero(mask)) for mask in masks.values())) / total


def mask_difference(first: Masks, second: Masks) -> float:
    """Gives the mean over tensors of the share of coordinates in which two masks differ.

    Args:
        first: name -> bool tensor.
        second: the same names and shapes.

    Returns:
        Mean per-tensor Hamming distance in [0, 1]; 0 for equal masks or none at all. Each tensor
        counts the same, however small.

    Raises:
        WeightsError: names or shapes differ.

    Source: Sub-FedAvg's dist_masks.
    """
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise WeightsError(f"two masks must be of the same tensors, {odd[0]!r} is in one only")
    if not first:
        return 0.0
    shares = []
    for name, mask in first.items():
        check_fit(second, name, mask)
        differing = int(torch.count_nonzero(mask ^ second[name]))
        shares.append(differing / max(mask.numel(), 1))
    return sum(shares) / len(shares)


def mask_hash(masks: Masks) -> str:
    """Gives the fingerprint by which two sides know that they hold the same masks.

    Args:
        masks: name -> bool tensor; the order of the names does not matter.

    Returns:
        64 hexadecimal digits: SHA-256 over each name (sorted), its shape, and its bits packed
        eight to a byte, lowest index in the highest bit.
    """
    digest = hashlib.sha256()
    for name in sorted(masks):
        bits = masks[name].detach().cpu().numpy()
        digest.update(f"{name}\0{'x'.join(map(str, bits.shape))}\0".encode())
        digest.update(np.packbits(bits.reshape(-1)).tobytes())
    return digest.hexdigest()


def check_fit(tensors: Tensors, name: str, mask: Tensor) -> None:
    """Refuses a mask that is not of the tensor it is named after.

    Raises:
        WeightsError: no tensor has that name, or the mask is not bool of its shape.
    """
    if name not in tensors:
        raise WeightsError(
            f"a mask must belong to a tensor of the model, {name!r} does not: the mask is of "
            "another architecture"
        )
    if tensors[name].shape != mask.shape or mask.dtype != torch.bool:
        raise WeightsError(
            f"the mask of {name!r} must be bool of shape {tuple(tensors[name].shape)}, it is "
            f"{mask.dtype} of shape {tuple(mask.shape)}: the mask is of another architecture"
        )

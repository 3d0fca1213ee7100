"""Where a client computes, and in what precision: `training.device`, `training.precision`.

A network is brought to its device when a client opens it (`placed`), and takes the pictures it is
given there itself. Memories and batches follow its features; pictures, labels, what travels and
what is stored stay on the host (`host`).
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import nn

from fedklpr_flwr.config.settings import Training
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid.network import ReidNetwork, float_state

_GAIN = 1.2
"""bfloat16 must be that much faster on a CPU to be chosen: less is the clock's noise."""


def training_device(training: Training) -> torch.device:
    """The device that `training.device` means on this machine.

    Raises:
        SettingsError: it says cuda and torch sees no CUDA device.
    """
    if training.device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if training.device == "cuda":
        raise SettingsError(
            "training.device=cuda and torch sees no CUDA device here: set training.device=auto or "
            "cpu, install a CUDA build of torch, or give the client a share of the GPU "
            "(client-resources-num-gpus)"
        )
    return torch.device("cpu")


def evaluation_device(training: Training) -> torch.device:
    """The device to look at a trained model with: that of the training, or what is here."""
    here = training.device == "cpu" or not torch.cuda.is_available()
    return torch.device("cpu") if here else training_device(training)


def placed(network: ReidNetwork, training: Training, device: torch.device) -> ReidNetwork:
    """A network brought to a device, in place, to compute there in `training.precision`.

    On a CUDA device float32 is exact float32: TF32, which torch would take for convolutions, is
    switched off for the process unless `training.precision` is tf32.

    Args:
        network: on the host, or there already.
        training: the run's local training.
        device: see `training_device`.

    Returns:
        The same network.
    """
    network.half_precision = _takes_bfloat16(training.precision, device)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = training.precision == "tf32"
        network.to(device).to(memory_format=torch.channels_last)
    return network


def bring_to_device(network: ReidNetwork, training: Training) -> None:
    """Move a network to where this client trains (`training.device`), in place.

    Raises:
        SettingsError: it says cuda and torch sees no CUDA device.
    """
    placed(network, training, training_device(training))


def training_forward(
    network: ReidNetwork, training: Training
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network's forward pass in a training step, compiled where `training.compile` says so.

    The network itself stays as it is, and so do the names of its tensors.
    """
    return torch.compile(network) if training.compile else network


def device_of(network: nn.Module) -> torch.device:
    """The device a network's parameters are on."""
    return next(network.parameters()).device


def host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as what travels and what is stored needs it: on the CPU, laid out row by row."""
    return tensor.detach().cpu().contiguous()


def all_on_host(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors by name, each on the host; those that are there are shared, not copied."""
    return {name: host(tensor) for name, tensor in tensors.items()}


def state_on_host(network: nn.Module) -> dict[str, torch.Tensor]:
    """`float_state` as what travels and what is stored needs it: on the CPU, contiguous."""
    return all_on_host(float_state(network))


def all_to(tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Tensors by name, each on a device; those that are there are shared, not copied."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _takes_bfloat16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        # Emulated bfloat16 on older cards is slower than float32.
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _gains_on_this_cpu()


@lru_cache(maxsize=1)
def _gains_on_this_cpu() -> bool:
    """Whether a convolution's forward and backward pass is faster in bfloat16, by trying it."""
    with torch.random.fork_rng(devices=[]):
        convolution = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        maps = torch.rand(8, 64, 32, 16).contiguous(memory_format=torch.channels_last)

    def seconds(half: bool) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            made = convolution(maps)
        made.float().sum().backward()
        return time.perf_counter() - started

    seconds(False), seconds(True)  # the first call of each prepares its kernels
    best = {half: min(seconds(half) for _ in range(5)) for half in (False, True)}
    return best[False] > _GAIN * best[True]

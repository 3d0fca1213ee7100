"""The re-identification network: a torchvision backbone, a batch-norm neck, unit features."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedklpr_flwr.errors import SettingsError, WeightsError
from fedklpr_flwr.reid.device_copy import copied_to
from fedklpr_flwr.reid.initial_weights import (
    backbone_prefix,
    load_backbone_weights,
    read_tensors,
)
from fedklpr_flwr.reid.residual_block import ResidualBlock
from fedklpr_flwr.wording import counted

FEATURE_DIMS: dict[str, int] = {
    "small": 128,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "mobilenet_v2": 1280,
}


class ReidNetwork(nn.Module):
    """A backbone whose pooled output is batch-normalised and scaled to unit length.

    feature = z / |z|, z = BN(backbone(image)); the neck's bias stays zero and takes no gradient,
    so that features are spread around the origin, where the cosine is meaningful.

    Attributes:
        feature_dim: D.
        backbone: pictures to (B,D).
        neck: the batch norm behind it, always in float32.
        half_precision: True = the backbone computes in bfloat16 where torch's autocast does so; its
            weights stay float32.

    Source: the baseline's model; the neck is that of "Bag of Tricks", 2019.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.backbone = backbone
        self.neck = nn.BatchNorm1d(feature_dim)
        self.neck.bias.requires_grad_(False)
        self.half_precision = False

    def forward(self, images: Tensor) -> Tensor:
        """Map pictures to features of length one.

        Args:
            images: (B,3,H,W), float32, normalised with ImageNet's mean and deviation, on the host
                or on the network's device. In training mode B is at least 2, for the batch norms.

        Returns:
            (B,D) float32, rows of unit length, on the network's device.
        """
        images = self.taken(images)
        if not self.half_precision:
            return functional.normalize(self.neck(self.backbone(images)), dim=1)
        with torch.autocast(images.device.type, torch.bfloat16):
            pooled = self.backbone(images)
        return functional.normalize(self.neck(pooled.float()), dim=1)

    def taken(self, images: Tensor) -> Tensor:
        """Bring pictures to the network's device, in the layout it is fastest with.

        Args:
            images: (B,3,H,W), on the host or on the device.

        Returns:
            The same pictures, channels last; themselves where nothing is to be done.
        """
        # Channels last makes oneDNN's convolutions faster on a CPU; the values stay the same.
        there = copied_to(images, self.neck.weight.device)
        return there.contiguous(memory_format=torch.channels_last)


def build_network(
    backbone: str, *, weights: Path | None, generator_seed: int, stem_relu: bool = False
) -> ReidNetwork:
    """Build a re-identification network whose start is decided by its arguments alone.

    Args:
        backbone: small (for 64 x 32 pictures), resnet18, resnet34, resnet50 or mobilenet_v2. The
            last stage keeps its resolution (last stride 1).
        weights: a .pth or .safetensors file for `load_backbone_weights`, or None for random values.
        generator_seed: decides every random value; the global random state stays as it was.
        stem_relu: keeps the ReLU of a ResNet's stem, which the baseline leaves out. It has no
            meaning for mobilenet_v2 (kept as published) and small (always has it).

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        SettingsError: the backbone is not one of those.
        WeightsError: the file does not fit.

    Source: the baseline's model; last stride 1 is "Bag of Tricks", the missing ReLU that of CAP.
    """
    if backbone not in FEATURE_DIMS:
        raise SettingsError(
            f"model.backbone must be one of {', '.join(FEATURE_DIMS)}; got {backbone!r}"
        )
    builders: dict[str, Callable[[], nn.Module]] = {
        "small": _small_backbone,
        "mobilenet_v2": _mobilenet_backbone,
    }
    # Not torch.manual_seed: that would seed the accelerators too, and no fork restores those.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator_seed)
        body = (
            builders[backbone]()
            if backbone in builders
            else _resnet_backbone(backbone, stem_relu=stem_relu)
        )
        network = ReidNetwork(body, FEATURE_DIMS[backbone])
    if weights is not None:
        try:
            load_backbone_weights(network, weights)
        except WeightsError as error:
            raise WeightsError(f"{error}{_what_fits(weights)}") from error
    return network


def backbone_of(tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """The backbone whose weights these are, by names and shapes.

    Args:
        tensors: a file's tensors by name.

    Returns:
        The backbone, empty where none of FEATURE_DIMS has all of its weights there; and in words
        which one is there or nearest, behind what prefix.
    """
    near: dict[str, tuple[int, str]] = {}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for backbone in FEATURE_DIMS:
        with torch.device("meta"):
            body = build_network(backbone, weights=None, generator_seed=0).get_submodule("backbone")
        wanted = {name: tuple(value.shape) for name, value in float_state(body).items()}
        before = backbone_prefix(body, tensors)
        shared = sum(shapes.get(before + name) == shape for name, shape in wanted.items())
        behind = f" behind the prefix {before}" * bool(before)
        if shared == len(wanted):
            return backbone, f"all of {backbone} is there{behind}"
        near[backbone] = shared, behind
    nearest = max(near, key=lambda name: near[name][0])
    shared, behind = near[nearest]
    of_all = f"of the {len(tensors)} in it"
    told = (
        f"{nearest} is nearest, with {counted(shared, 'tensor')} of the same name and shape"
        f"{behind} {of_all}"
        if shared
        else f"no tensor {of_all} has a name and shape that is known"
    )
    if 2 * sum(name.partition(".")[0].isdecimal() for name in tensors) > len(tensors):
        told += "; its names begin with numbers, as those of an nn.Sequential of a network's parts "
        told += "do: save the network's own state_dict()"
    return "", told


def _what_fits(path: Path) -> str:
    """What a file of weights that does not fit holds, behind a semicolon; empty if unreadable."""
    try:
        backbone, told = backbone_of(read_tensors(path))
    except WeightsError:  # which the first error says
        return ""
    return f"; {told}" + f": set model={backbone}" * bool(backbone)


def float_state(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and float buffers by name, sharing the network's storage; counters stay behind."""
    return {
        name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()
    }


def reestimate_batchnorm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace every batch norm's running mean and variance by their averages over these batches.

    For use where weights changed without training (a prune, a merge seen through a mask). The
    averages are cumulative, each batch counts the same; weights, momentum and modes are unchanged.

    Args:
        network: any network; only its batch norms' statistics change.
        batches: (B,3,H,W) float32 each. Batches of a single picture are passed over: the neck has
            no variance to measure there. With no batch left nothing changes.
    """
    usable = (batch for batch in batches if len(batch) > 1)
    first = next(usable, None)
    if first is None:
        return
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    try:
        network.eval()  # whatever else acts in training, such as dropout, must not act here
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for batch in chain([first], usable):
            with torch.no_grad():
                network(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


def _resnet_backbone(name: str, *, stem_relu: bool) -> nn.Module:
    """Build a torchvision ResNet with last stride 1 and no classifier."""
    from torchvision import models

    resnet: nn.Module = models.get_model(name, weights=None)
    # A Bottleneck (resnet50) strides in its second convolution, a BasicBlock in its first.
    strided = "layer4.0.conv2" if name == "resnet50" else "layer4.0.conv1"
    _remove_stride(resnet, strided)
    _remove_stride(resnet, "layer4.0.downsample.0")
    resnet.fc = nn.Identity()
    if not stem_relu:
        resnet.relu = nn.Identity()  # the blocks have their own
    return resnet


def _mobilenet_backbone() -> nn.Module:
    """Build torchvision's MobileNetV2 with its last strided stage at stride 1, no classifier."""
    from torchvision import models

    mobilenet: nn.Module = models.get_model("mobilenet_v2", weights=None)
    _remove_stride(mobilenet, "features.14.conv.1.0")
    mobilenet.classifier = nn.Identity()
    return mobilenet


def _remove_stride(backbone: nn.Module, name: str) -> None:
    """Let one named convolution keep the resolution; its weights stay as they are."""
    cast(nn.Conv2d, backbone.get_submodule(name)).stride = (1, 1)


def _small_backbone() -> nn.Module:
    """Build a ResNet of four basic blocks with a 3 x 3 stem, for pictures of 64 x 32."""
    backbone = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu=nn.ReLU(inplace=True),
            layer1=ResidualBlock(16, 32, stride=2),
            layer2=ResidualBlock(32, 64, stride=2),
            layer3=ResidualBlock(64, 128, stride=1),
            layer4=ResidualBlock(128, 128, stride=1),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone

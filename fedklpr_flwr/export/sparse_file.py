"""A pruned model as one safetensors file: the wire format's bytes, and whose network they are.

    payload    uint8 (bytes,): docs/wire-format.md, every number to the bit, pruned ones absent
    metadata   fedklpr-model-1: {"backbone", "stem_relu", "height", "width"} as JSON

Every convolution's weight may carry a mask, so the layout follows from the backbone alone.
"""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedklpr_flwr.algorithm.masks import prunable_weights
from fedklpr_flwr.errors import WeightsError, WireError
from fedklpr_flwr.model.device import state_on_host
from fedklpr_flwr.model.mask_file import ArrayView
from fedklpr_flwr.reid.network import FEATURE_DIMS, ReidNetwork, build_network, float_state
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.plain_text import parse_json
from fedklpr_flwr.wire.codec import decode_dense, encode
from fedklpr_flwr.wire.layout import Layout, layout_of

_KEY = "fedklpr-model-1"
"""The only key of the metadata: safetensors writes several in an order of the moment."""


@dataclass(frozen=True)
class Architecture:
    """What a network must be told beside its weights.

    Attributes:
        backbone: one of `FEATURE_DIMS`.
        stem_relu: whether a ResNet's stem has its ReLU.
        height: of its pictures, in pixels.
        width: of its pictures, in pixels.
    """

    backbone: str
    stem_relu: bool
    height: int
    width: int


def write_sparse(
    path: Path,
    network: ReidNetwork,
    masks: Mapping[str, torch.Tensor],
    architecture: Architecture,
) -> int:
    """Write a model's kept weights, and all that is never pruned, to a file.

    Args:
        path: the file.
        network: the model; what its masks prune is not written.
        masks: bool tensors by name, True = kept; absent = all kept.
        architecture: what the network is.

    Returns:
        The bytes of the payload in it, which the wire would have sent: the file has some hundred
        more. It is coded `tight` where the extra of that name is installed, else `fast`.

    Raises:
        RunError: the file cannot be written.
    """
    state = state_on_host(network)
    payload = encode(
        {name: tensor.numpy() for name, tensor in state.items()},
        ArrayView(masks),
        layout=_layout(network),
        level="tight" if importlib.util.find_spec("constriction") else "fast",
    )
    content = save(
        {"payload": np.frombuffer(payload, np.uint8)},
        metadata={_KEY: json.dumps(vars(architecture), separators=(",", ":"))},
    )
    write_atomically(path, content)
    return len(payload)


_DAMAGED = (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged file raises; AttributeError for types that numpy lacks (float8)."""


def is_sparse(path: Path) -> bool:
    """Whether a file is one that `write_sparse` wrote."""
    try:
        with safe_open(str(path), framework="np") as file:
            return _KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read_sparse(path: Path) -> tuple[Architecture, ReidNetwork, dict[str, torch.Tensor]]:
    """Read back what `write_sparse` wrote.

    Returns:
        What the network is; the network in evaluation mode, zero where pruned; and its masks.

    Raises:
        WeightsError: the file is damaged, or another version wrote it.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            architecture = _architecture(parse_json(file.metadata()[_KEY]))
            payload = file.get_tensor("payload").tobytes()
        network = build_network(
            architecture.backbone,
            weights=None,
            generator_seed=0,
            stem_relu=architecture.stem_relu,
        )
        arrays, masks = decode_dense(payload, layout=_layout(network))
    except (*_DAMAGED, WireError) as error:
        raise WeightsError(f"{path} is no model that fedklpr export wrote: {error}") from error
    state = float_state(network)
    with torch.no_grad():
        for name, array in arrays.items():
            state[name].copy_(torch.from_numpy(array))
    return architecture, network.eval(), {n: torch.from_numpy(m) for n, m in masks.items()}


def _layout(network: ReidNetwork) -> Layout:
    shapes = {name: value.numpy(force=True) for name, value in float_state(network).items()}
    return layout_of(shapes, prunable_weights(network, depthwise=True, stem=True))


def _architecture(told: dict[str, Any]) -> Architecture:
    """Check what a file says of its network.

    Raises:
        ValueError: it says something else.
    """
    found = Architecture(**told)
    sizes = (found.height, found.width)
    if found.backbone not in FEATURE_DIMS or not isinstance(found.stem_relu, bool):
        raise ValueError(f"expected a backbone of {', '.join(FEATURE_DIMS)}, got {told}")
    if not all(type(size) is int and 16 <= size <= 1024 for size in sizes):
        raise ValueError(f"expected pictures of 16 to 1024 pixels a side, got {sizes}")
    return found

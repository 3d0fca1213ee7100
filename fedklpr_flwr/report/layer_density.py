"""How dense each layer of a run's models is: from the clients' masks, as the server keeps them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.system import run_files


@dataclass(frozen=True)
class LayerDensity:
    """One layer's masks over all clients; densities are shares of its weights.

    Attributes:
        name: the tensor's name.
        numbers: how many weights it has.
        mean: what a client keeps on average.
        least: what the client with the sparsest mask keeps.
        most: what the client with the densest mask keeps.
        held: what at least one client keeps; the rest of the merged tensor is nobody's.
    """

    name: str
    numbers: int
    mean: float
    least: float
    most: float
    held: float

    @property
    def short_name(self) -> str:
        """The name without what all layers have in common."""
        return self.name.removeprefix("backbone.").removesuffix(".weight")


@dataclass(frozen=True)
class ModelDensity:
    """A run's models, layer by layer.

    Attributes:
        layers: of the weights that may be pruned, in the network's order.
        clients: how many masks were read.
        dense: numbers of the merged model that are never pruned; None where it is not there.
    """

    layers: tuple[LayerDensity, ...]
    clients: int
    dense: int | None

    def over_all(self, kind: str) -> float:
        """`mean` or `held` over all layers together."""
        total = sum(one.numbers for one in self.layers)
        return sum(float(getattr(one, kind)) * one.numbers for one in self.layers) / total


def model_density(folder: Path) -> ModelDensity | None:
    """Densities of the models of a run folder; None where no client has a mask yet.

    Raises:
        RunError: the masks are not of one network, or the merged model is damaged.
        MemoryStateError: a mask is damaged, or of another version.
    """
    files = sorted(folder.glob("clients/*/mask.safetensors"))
    masks = {file.parent.name: MaskFile(file) for file in files}
    if not masks or not any(map(len, masks.values())):
        return None
    names = sorted(set().union(*masks.values()), key=_natural)
    layers = tuple(_layer(name, masks) for name in names)
    return ModelDensity(layers, len(masks), _dense_numbers(folder, set(names)))


def _layer(name: str, masks: Mapping[str, MaskFile]) -> LayerDensity:
    shares, held = [], None
    for client, found in masks.items():
        if name not in found:
            raise RunError(f"the mask of client {client} has no {name}, and others have")
        mask = found[name]
        if held is not None and held.shape != mask.shape:
            raise RunError(
                f"the mask of client {client} has {name} of shape {tuple(mask.shape)}, and others "
                f"of {tuple(held.shape)}"
            )
        shares.append(float(mask.double().mean()))
        held = mask if held is None else held | mask
    kept = held if held is not None else torch.ones(1)
    union = float(kept.double().mean())
    return LayerDensity(name, kept.numel(), float(np.mean(shares)), min(shares), max(shares), union)


def _dense_numbers(folder: Path, pruned: set[str]) -> int | None:
    """Numbers of the merged model in tensors that no mask is of."""
    path = folder / run_files.MODEL
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    return sum(int(np.prod(shape)) for name, shape in shapes.items() if name not in pruned)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Order by the numbers in a name: features.2 before features.10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

"""A model to look at pictures with, from wherever it is: a run folder, or a file of weights."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.errors import BrokenModel, RunError, SettingsError, WeightsError
from fedklpr_flwr.export.sparse_file import Architecture, is_sparse, read_sparse
from fedklpr_flwr.model.device import evaluation_device, placed
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.initial_weights import load_backbone_weights, read_tensors
from fedklpr_flwr.reid.network import (
    FEATURE_DIMS,
    ReidNetwork,
    backbone_of,
    build_network,
    float_state,
)
from fedklpr_flwr.runs.trained_models import TrainedRun, open_run
from fedklpr_flwr.system import run_files

_BATCH = 64


@dataclass(frozen=True)
class PictureModel:
    """A trained network and the pictures it is for.

    Attributes:
        network: in evaluation mode, on its device.
        architecture: what it is, and the size of its pictures.
        settings: those it was trained with, or the defaults of its backbone.
        masks: bool tensors by name, True = kept, and the network is zero elsewhere; empty where
            nothing is known to be pruned.
        name: what it is, in words.
        remark: what was not known of it and was taken as usual; empty = nothing.
    """

    network: ReidNetwork
    architecture: Architecture
    settings: Settings
    masks: Mapping[str, torch.Tensor]
    name: str
    remark: str = ""

    @property
    def key(self) -> str:
        """64 hexadecimal digits that change with any weight, the pictures' size or the precision.

        Features under two keys must never be compared.
        """
        half = self.network.half_precision
        digest = hashlib.sha256(f"{self.architecture} {half}\n".encode())
        for name, tensor in float_state(self.network).items():
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def features(self, pixels: torch.Tensor) -> np.ndarray:
        """Draw the features of pictures.

        Args:
            pixels: uint8 (N,3,H,W) of the model's height and width.

        Returns:
            (N,D) float32, unit rows.

        Raises:
            BrokenModel: the model's numbers overflow on such pictures.
        """
        try:
            rows = extract_features(self.network, image_loader(pixels, _BATCH)).cpu().numpy()
        except BrokenModel as error:
            raise BrokenModel(f"{self.name}: {error}") from error
        return rows.reshape(len(pixels), self.network.feature_dim)


def open_model(
    path: Path, client: str | None = None, height: int | None = None, *, trust: bool = False
) -> PictureModel:
    """Open a model to look at pictures with.

    Args:
        path: a run folder, or the global.safetensors in it; or a file: what fedklpr export wrote as
            safetensors, or weights (.safetensors, .pth) of one of our backbones.
        client: of a run folder, whose own model; None = the merged one.
        height: of weights that say nothing of their pictures, how high those are (256 of 256x128);
            their width is half of it. None = as their backbone's usual.
        trust: see `open_run`.

    Raises:
        RunError: there is nothing, no run in the folder, or no whole merged model.
        MemoryStateError: the client's model needs what is not on this machine.
        SettingsError: a client of a file, or one that the run does not have.
        WeightsError: the file is of none of our networks.
    """
    if height is not None and (path.is_dir() or (path.is_file() and is_sparse(path))):
        raise SettingsError(
            f"--height {height}: {path} says how high its pictures are: leave it out"
        )
    if path.is_dir():
        return _of_run(open_run(path, trust=trust), client)
    if not path.is_file():
        raise RunError(f"{path}: expected a run folder or a file of weights, there is nothing")
    if client is not None:
        raise SettingsError(f"--client {client}: {path} is one model; name its run folder instead")
    if path.name == run_files.MODEL and (path.parent / run_files.STATE).is_file():
        return _of_run(open_run(path.parent, trust=trust), None)
    if is_sparse(path):
        architecture, network, masks = read_sparse(path)
        settings = _usual_settings(architecture)
        return _ready(network, settings, masks, str(path))
    return _of_weights(path, height)


def _of_run(run: TrainedRun, client: str | None) -> PictureModel:
    if client is None:
        masks, name = run.held_masks(), f"the merged model of {run.path}"
        network = run.merged()
    else:
        masks, name = run.masks(client), f"{client}'s model of {run.path}"
        network = run.own(client)
    moment = f"round {run.state.round}" if run.state.round else "round 0, nothing trained yet"
    return _ready(network, run.settings, masks, f"{name}, {moment}")


def _of_weights(path: Path, height: int | None) -> PictureModel:
    backbone = _backbone_of(read_tensors(path), path)
    size = (f"model.height={height}", f"model.width={height // 2}") if height else ()
    settings = compose_settings("drawn", (f"model={backbone}", *size))
    model = settings.model
    stem = f", a stem {'with' if model.stem_relu else 'without'} ReLU" * ("resnet" in backbone)
    whence = (
        "--height, half as wide as high"
        if height
        else f"conf/model/{backbone}.yaml; --height says another"
    )
    remark = (
        f"{path.name} says nothing of its pictures: taken as {model.height} x {model.width}"
        f"{stem}, by {whence}; a run folder or fedklpr export would say"
    )
    network = build_network(backbone, weights=None, generator_seed=0, stem_relu=model.stem_relu)
    if passed := load_backbone_weights(network, path):
        remark = f"{path.name}: {passed}" + f"; {remark}" * bool(remark)
    return _ready(network, settings, {}, str(path), remark)


def _backbone_of(tensors: Mapping[str, torch.Tensor], path: Path) -> str:
    """The backbone whose weights these are: by names and shapes.

    Raises:
        WeightsError: it is none of ours.
    """
    backbone, told = backbone_of(tensors)
    if not backbone:
        raise WeightsError(
            f"{path} fits none of {', '.join(FEATURE_DIMS)}: {told}; choose a file of one of these "
            "networks"
        )
    return backbone


def _usual_settings(architecture: Architecture) -> Settings:
    """Settings of a model that brings no run: the defaults, with its network."""
    told = vars(architecture)
    values = [f"model.{key}={str(told[key]).lower()}" for key in ("height", "width", "stem_relu")]
    return compose_settings("drawn", (f"model={architecture.backbone}", *values))


def _ready(
    network: ReidNetwork,
    settings: Settings,
    masks: Mapping[str, torch.Tensor],
    name: str,
    remark: str = "",
) -> PictureModel:
    model, training = settings.model, settings.training
    architecture = Architecture(model.backbone, model.stem_relu, model.height, model.width)
    placed(network, training, evaluation_device(training)).eval()
    return PictureModel(network, architecture, settings, masks, name, remark)

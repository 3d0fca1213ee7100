"""An opened model becomes a file and its card, held against torch before anybody gets it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.errors import RunError, WeightsError
from fedklpr_flwr.export.card import Shipped
from fedklpr_flwr.export.recipe import picture
from fedklpr_flwr.export.shipped_network import (
    Checked,
    check_near,
    features_of_file,
    file_hash,
    write_onnx,
    write_torchscript,
)
from fedklpr_flwr.export.sparse_file import read_sparse, write_sparse
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.network import ReidNetwork, float_state
from fedklpr_flwr.runs.opened_model import PictureModel

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}


@dataclass(frozen=True)
class Pictures:
    """What an exported model is checked on.

    Attributes:
        pixels: uint8 (N,3,H,W), N at least 1.
        words: what they are.
        files: where they lie, N; they are then read by the card's own lines, too. Empty where they
            are no files.
    """

    pixels: torch.Tensor
    words: str
    files: tuple[Path, ...] = ()


def ship(model: PictureModel, kind: str, path: Path, pictures: Pictures) -> Shipped:
    """Write a model, and make sure that it draws the same features.

    Args:
        model: the opened model.
        kind: one of SUFFIXES.
        path: the file; it is there only if the check holds.
        pictures: what it is checked on.

    Returns:
        What its card needs of the file and the network.

    Raises:
        SettingsError: onnx without the extra `export`.
        WeightsError: the file's features are not torch's.
        RunError: the file cannot be written.
    """
    network = _host_copy(model)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "safetensors":
            write_sparse(partial, network, model.masks, model.architecture)
            checked = _same_to_the_bit(partial, network)
        else:
            checked = _written_and_checked(partial, kind, network, model, pictures)
        partial.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    numbers = sum(tensor.numel() for tensor in float_state(network).values())
    pruned = sum(int((~mask).sum()) for mask in model.masks.values())
    return Shipped(
        name=model.name,
        file=path.name,
        kind=kind,
        size=path.stat().st_size,
        sha256=file_hash(path),
        architecture=model.architecture,
        features=network.feature_dim,
        numbers=numbers,
        kept=numbers - pruned,
        checked=checked,
    )


def _host_copy(model: PictureModel) -> ReidNetwork:
    """The network on the host, in float32."""
    network = deepcopy(model.network).cpu().eval()
    network.half_precision = False
    return network


def _written_and_checked(
    path: Path, kind: str, network: ReidNetwork, model: PictureModel, pictures: Pictures
) -> Checked:
    writers: dict[str, Callable[[Path, ReidNetwork, int, int], None]] = {
        "onnx": write_onnx,
        "torchscript": write_torchscript,
    }
    size = model.architecture
    writers[kind](path, network, size.height, size.width)
    wanted = extract_features(network, image_loader(pictures.pixels, 32)).numpy()
    plain = pictures.pixels.float() / 255
    if pictures.files:  # as whoever has the card alone will read them
        read = [picture(file, size.width, size.height) for file in pictures.files]
        plain = torch.from_numpy(np.stack(read))
    return check_near(features_of_file(path, kind, plain), wanted, pictures.words)


def _same_to_the_bit(path: Path, network: ReidNetwork) -> Checked:
    state = float_state(read_sparse(path)[1])
    for name, tensor in float_state(network).items():
        if not np.array_equal(tensor.numpy(), state[name].numpy()):
            raise WeightsError(f"{path}: {name} does not read back as it was written")
    return Checked("all its numbers, read back", 0.0)

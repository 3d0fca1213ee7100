"""Galleries and models for tests of the search: two-coloured figures, and a small network."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny_federation import figure

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.export.sparse_file import Architecture
from fedklpr_flwr.reid.network import build_network
from fedklpr_flwr.runs.opened_model import PictureModel


def small_model(seed: int = 0) -> PictureModel:
    """An untrained network for pictures of 32 x 16."""
    network = build_network("small", weights=None, generator_seed=seed).eval()
    settings = compose_settings("smoke", ("model.height=32", "model.width=16"))
    return PictureModel(network, Architecture("small", True, 32, 16), settings, {}, "a model")


def write_figure(path: Path, person: int, camera: int = 0, seed: int = 0) -> Path:
    """Draw a person as a camera sees them into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = figure(person, camera, np.random.default_rng([person, camera, seed]))
    Image.fromarray(pixels).save(path)
    return path


def write_gallery(root: Path, persons: int = 4) -> Path:
    """Write CAMERA/PERSON.png: cameras east and west saw all of these persons."""
    for camera, name in enumerate(("east", "west")):
        for person in range(persons):
            write_figure(root / name / f"{person}.png", person, camera)
    return root


def counted(model: PictureModel) -> list[int]:
    """How many pictures each later call draws features of, as they come."""
    calls: list[int] = []

    def note(module: torch.nn.Module, pictures: tuple[torch.Tensor, ...]) -> None:
        calls.append(len(pictures[0]))

    model.network.register_forward_pre_hook(note)
    return calls

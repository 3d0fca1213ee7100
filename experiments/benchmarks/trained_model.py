"""A ResNet-50 that was really trained: what the benchmarks of bytes and of merging look at.

Trained weights are not drawn ones: their exponents and the places of the smallest differ from layer
to layer. 200 steps on drawn people at 128 x 64 are enough for that, once a machine.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from experiments.benchmarks.rows import Row
from fedklpr_flwr.algorithm.masks import prunable_weights
from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.loaders import image_loader, labelled_loader, sample_batches
from fedklpr_flwr.data.picture_cache import load_pictures
from fedklpr_flwr.reid.camera_proxies import CameraProxyMemory, assign_proxies, proxy_centroids
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.network import ReidNetwork, build_network
from fedklpr_flwr.reid.pseudo_labels import identity_labels
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.paths import user_cache


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, but for the last bits, which depend on the machine's cores.

    Attributes:
        backbone: of `build_network`.
        site: of the drawn sites.
        height: of the pictures, which are half as wide.
        steps: of training.
        proxies: proxies a batch.
        pictures: pictures of each.
        learning_rate: of Adam.
        seed: of weights, batches and views.
    """

    backbone: str = "resnet50"
    site: str = "campus"
    height: int = 128
    steps: int = 200
    proxies: int = 4
    pictures: int = 4
    learning_rate: float = 3.5e-4
    seed: int = 0

    @property
    def name(self) -> str:
        """Names the file."""
        return f"{self.backbone}-{self.site}-{self.height}-{self.steps}-seed{self.seed}"


@dataclass(frozen=True)
class TrainedModel:
    """A model as it travels.

    Attributes:
        tensors: name -> float32 array, dense.
        prunable: the names that may be pruned.
        seed: it was trained with.
        sha256: of the names and bytes of all tensors, in the order of names.
    """

    tensors: dict[str, np.ndarray]
    prunable: tuple[str, ...]
    seed: int
    sha256: str

    def marked(self, rows: list[Row]) -> list[Row]:
        """Rows that say which weights they were measured on."""
        return [row | {"seed": self.seed, "sha256": self.sha256} for row in rows]


RESNET50 = Recipe()


def prepared_model(recipe: Recipe = RESNET50, *, cache: Path | None = None) -> TrainedModel:
    """The trained model, from the cache, or trained now where it is not there or not whole.

    Args:
        recipe: how it is trained.
        cache: a folder; by default `benchmarks` in the user's cache.
    """
    file = (cache or user_cache() / "benchmarks") / f"{recipe.name}.safetensors"
    return _read(file) or _prepare(recipe, file)


def _prepare(recipe: Recipe, file: Path) -> TrainedModel:
    print(f"training {recipe.name} once, for a few minutes: {file}", file=sys.stderr, flush=True)
    network = train_network(recipe)
    state = sorted(network.state_dict().items())
    tensors = {name: value.numpy() for name, value in state if value.is_floating_point()}
    model = TrainedModel(tensors, prunable_weights(network), recipe.seed, _sha256(tensors))
    about = {"seed": model.seed, "sha256": model.sha256, "prunable": model.prunable}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, save(tensors, metadata={"about": json.dumps(about)}))
    return model


def _read(file: Path) -> TrainedModel | None:
    """The model of a file, or None where there is none, or it is not the one that was written."""
    try:
        with safe_open(file, framework="np") as opened:
            about = json.loads(opened.metadata()["about"])
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    if _sha256(tensors) != about["sha256"]:
        return None
    return TrainedModel(tensors, tuple(about["prunable"]), about["seed"], about["sha256"])


def _sha256(tensors: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, array in tensors.items():
        total.update(name.encode() + array.tobytes())
    return total.hexdigest()


def train_network(recipe: Recipe) -> ReidNetwork:
    """Train with the camera-proxy loss on the true persons of a drawn site."""
    images = read_dataset(f"drawn:{recipe.site}", user_cache() / "drawn").train
    height, width = recipe.height, recipe.height // 2
    pixels, _ = load_pictures(images, height=height, width=width, cache=None)
    persons = identity_labels(torch.tensor([image.person_id for image in images])).labels
    cameras = torch.tensor([image.camera_id for image in images])
    network = build_network(recipe.backbone, weights=None, generator_seed=recipe.seed)
    proxies, proxy_person, proxy_camera = assign_proxies(persons, cameras)
    features = extract_features(network, image_loader(pixels, 64))
    memory = CameraProxyMemory(
        proxy_centroids(features, proxies, len(proxy_person)), proxy_person, proxy_camera
    )
    trained = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=recipe.learning_rate, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(recipe.seed)
    batches = sample_batches(
        proxies,
        labels_per_batch=recipe.proxies,
        images_per_label=recipe.pictures,
        batches=recipe.steps,
        generator=generator,
    )
    network.train()
    for views, indices in labelled_loader(pixels, batches, generator):
        found = network(views)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(memory.loss(found, proxies[indices]))
        optimizer.step()
        memory.update(found.detach(), proxies[indices])
    return network

"""How well pictures of small sites are clustered, by the usual settings and experiment=own's.

python experiments/small_sites.py --root FOLDER --weights mobilenet_v2-imagenet-features.pth

FOLDER holds pku_reid and ward. Sites of some persons are drawn from each, with a few pictures of
every camera; features are those of the initial weights, nothing is trained. Printed for each size:
F1 of the pairs put together, and clusters; means over the draws. The table is in
docs/own-pictures.md.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.client.label_source import compared_features, label_site
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_cache import load_pictures
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.pseudo_labels import PseudoLabels, pair_precision, pair_recall

SIZES = ((5, 6), (10, 6), (20, 6), (15, 12), (50, 8))
"""Persons, and pictures of each."""

_OWN = "data.clients=[{name: gate, reader: folder, folder: gate}]"
_USUAL = ("labels.k1=20", "labels.k2=6", "labels.min_samples=4", "labels.camera=none")


def pictures_of(name: str, root: Path, most: int) -> list[PersonImage]:
    """List a set's pictures, all parts together: at most so many of a person and camera."""
    dataset = read_dataset(name, root / name)
    found: dict[tuple[int, int], list[PersonImage]] = {}
    for image in dict.fromkeys((*dataset.train, *dataset.query, *dataset.gallery)):
        found.setdefault((image.person_id, image.camera_id), []).append(image)
    return [i for own in found.values() for i in own[:: max(1, len(own) // most)][:most]]


def drawn(pictures: Pictures, persons: int, each: int, generator: np.random.Generator) -> list[int]:
    """Choose a site's pictures: of some persons, as many of every camera as come to `each`."""
    who, cameras = pictures.persons.numpy(), pictures.cameras.numpy()
    chosen = generator.choice(np.unique(who), min(persons, len(np.unique(who))), replace=False)
    count = max(1, each // len(np.unique(cameras)))
    rows: list[int] = []
    for person in chosen:
        for camera in np.unique(cameras):
            own = np.flatnonzero((who == person) & (cameras == camera))
            rows += generator.choice(own, min(count, len(own)), replace=False).tolist()
    return rows


def f1(found: PseudoLabels, persons: torch.Tensor) -> float:
    """F1 of precision and recall over pairs of pictures."""
    precision, recall = pair_precision(found.labels, persons), pair_recall(found.labels, persons)
    if not precision or not recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def site_of(pictures: Pictures) -> Site:
    """A site with these pictures to train on, whose persons nobody knows."""
    unknown = replace(pictures, persons=torch.full_like(pictures.persons, -1))
    nothing = unknown.subset(torch.tensor([], dtype=torch.int64))
    return Site("drawn", unknown, nothing, nothing)


def labels_of(part: Pictures, features: torch.Tensor, settings: Settings) -> PseudoLabels:
    """The clusters of some pictures, by settings."""
    compared = compared_features(features, None, part, settings)
    return label_site(site_of(part), compared, 1, settings)


def rows_of(name: str, root: Path, usual: Settings, own: Settings) -> list[str]:
    """A line of the table for each size."""
    images = pictures_of(name, root, most=8)
    pixels, _ = load_pictures(images, height=own.model.height, width=own.model.width, cache=None)
    persons, cameras = (
        torch.tensor([getattr(image, key) for image in images])
        for key in ("person_id", "camera_id")
    )
    pictures = Pictures(pixels, persons, cameras)
    features = features_of(initial_network(own, pretrained=True), pictures)
    generator, lines = np.random.default_rng(0), []
    for people, each in SIZES:
        told: list[list[float]] = []
        for _ in range(8 if people * each < 180 else 4):
            rows = torch.tensor(drawn(pictures, people, each, generator))
            part = pictures.subset(rows)
            found = [labels_of(part, features[rows], settings) for settings in (usual, own)]
            scores = [f1(one, part.persons) for one in found]
            told.append([len(rows), *scores, *(one.clusters for one in found)])
        count, plain, better, few, many = np.mean(told, axis=0)
        lines.append(
            f"{name}: {count:.0f} pictures, {people} persons: usual {plain:.2f}, {few:.0f}; "
            f"own {better:.2f}, {many:.0f}"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="the folder of pku_reid and ward")
    parser.add_argument("--weights", type=Path, required=True, help="initial weights")
    asked = parser.parse_args()
    words = (
        _OWN,
        "federation.min_clients=1",
        f"data.root={asked.root}",
        f"model.weights={asked.weights.resolve()}",
    )
    own, usual = (compose_settings("own", (*words, *more)) for more in ((), _USUAL))
    for name in ("pku_reid", "ward"):
        print(*rows_of(name, asked.root, usual, own), sep="\n", flush=True)


if __name__ == "__main__":
    main()

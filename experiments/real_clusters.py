"""How fast the people of a real set are told apart, who are less separated than drawn ones.

    python experiments/real_clusters.py --reader market1501 --root SETS/market1501 --weights FILE

The training pictures' features by a network with ImageNet weights, then the rows of `fedklpr bench
clusters` on them: at most 6,000 pictures, drawn by seed 0, against the dense algorithm, the labels
checked to be the same, and the time of all of them.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import normalize

from experiments.benchmarks.clusters import cluster, multiply, speedup_row
from experiments.benchmarks.rows import Row, make_row, median_seconds, table_lines
from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.data.picture_cache import load_pictures
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.network import build_network

COMPARED = 6000


def real_features(
    reader: str, root: Path, backbone: str, weights: Path | None, height: int
) -> torch.Tensor:
    """Unit features of a set's training pictures, half as wide as high: (N,D) float32."""
    images = read_dataset(reader, root).train
    workers = os.cpu_count() or 1
    pixels, _ = load_pictures(images, height=height, width=height // 2, cache=None, workers=workers)
    network = build_network(backbone, weights=weights, generator_seed=0)
    return normalize(extract_features(network, image_loader(pixels, 64)))


def real_rows(features: torch.Tensor, compared: int = COMPARED, repeats: int = 3) -> list[Row]:
    """The rows of (N,D) unit features, named `cluster_..._real_N`."""
    count = len(features)
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:compared]
    compared_row = speedup_row(features[drawn], repeats)
    compared_row["name"] = f"cluster_speedup_real_{len(drawn)}"
    work = partial(cluster, features)
    seconds, product = median_seconds(repeats, work, partial(multiply, features), warm=False)
    return [
        compared_row,
        make_row(f"cluster_seconds_real_{count}", seconds, "s", product),
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", required=True, help="of data.clients, such as market1501")
    parser.add_argument("--root", type=Path, required=True, help="the set's folder")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of the backbone")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--height", type=int, default=128, help="of the pictures, in pixels")
    chosen = parser.parse_args(words)
    features = real_features(
        chosen.reader, chosen.root, chosen.backbone, chosen.weights, chosen.height
    )
    print("\n".join(table_lines(real_rows(features))))


if __name__ == "__main__":
    main()

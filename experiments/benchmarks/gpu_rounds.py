"""A whole FedKLPR round of several clients on one GPU."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from experiments.benchmarks.gpu_bench import Bench, Sizes
from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.client.client import SiteClient
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.shared_model import full_masks, initial_network, shared_layout
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.protocol.task import Task, payload_name
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.wire.codec import encode


def drawn_pictures(persons: int, height: int, seed: int) -> Pictures:
    """Persons in three bands of colour before four cameras' greys, three pictures each."""
    generator = np.random.default_rng(seed)
    rows = [(p, c) for p in range(persons) for c in range(4) for _ in range(3)]
    pixels = np.empty((len(rows), 3, height, height // 2), np.uint8)
    colours = generator.integers(20, 236, (persons, 3, 3, 1, 1))
    for pixel, (person, camera) in zip(pixels, rows, strict=True):
        pixel[:] = 60 + 40 * camera
        for band, colour in enumerate(colours[person]):
            top = height // 8 + band * height // 4
            pixel[:, top : top + height // 4, height // 8 : 3 * height // 8] = colour
        pixel += generator.integers(0, 20, pixel.shape, np.uint8)
    known = torch.tensor(rows)
    return Pictures(torch.from_numpy(pixels), known[:, 0].clone(), known[:, 1].clone())


def drawn_site(name: str, sizes: Sizes, seed: int) -> Site:
    """A site to train on and to search."""
    height = sizes.main[1]
    test = drawn_pictures(max(2, sizes.persons // 3), height, 100 + seed)
    train = drawn_pictures(sizes.persons, height, seed)
    return Site(name, train, test.subset(torch.arange(0, len(test), 3)), test)


def round_settings(bench: Bench, precision: str) -> Settings:
    """FedKLPR with the KL term and a prune in the round that is timed."""
    backbone, height = bench.sizes.main
    return compose_settings(
        "drawn",
        (
            f"model={backbone}",
            "model.weights=null",
            f"model.height={height}",
            f"model.width={height // 2}",
            f"training.device={bench.device.type}",
            f"training.precision={precision}",
            "training.epochs=1",
            "training.max_batches=null",
            "training.padding=10",
            "method.pruning=always",
            "pruning.after=null",
            "labels.min_samples=2",
        ),
    )


def round_seconds(bench: Bench, precision: str) -> None:
    """All clients one after another: decode, label, train with KL, prune, score, encode."""
    settings = round_settings(bench, precision)
    network = initial_network(settings, pretrained=False)
    masks = full_masks(network, settings)
    arrays = {name: value.numpy() for name, value in float_state(network).items()}
    known = {name: mask.numpy() for name, mask in masks.items()}
    payload = encode(arrays, known, layout=shared_layout(settings), known_masks=known)
    task = Task("bench", 2, 0, mask_hash(masks), payload_name(payload), full=False)
    sites = [drawn_site(f"site{n}", bench.sizes, n) for n in range(bench.sizes.clients)]
    phases: dict[str, float] = {}
    with TemporaryDirectory() as memory:
        warm = SiteClient(sites[0], settings, Path(memory) / "warm")
        warm.train(task, payload)
        bench.wait()
        started = time.perf_counter()
        for site in sites:
            _, said = SiteClient(site, settings, Path(memory)).train(task, payload)
            for phase, seconds in said["seconds"].items():
                phases[phase] = phases.get(phase, 0.0) + seconds
        total = time.perf_counter() - started
    name = f"round_{len(sites)}_clients_{settings.model.backbone}_{precision}"
    other = total - sum(phases.values())
    pictures = sum(len(site.train) for site in sites)
    more = {**phases, "wire_and_rest": other, "pictures": pictures, "clusters": said["clusters"]}
    bench.add(name, total, "s", **more)

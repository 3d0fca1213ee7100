"""Claims about training on a real GPU: the same training, and no step waits for it.

`pytest -m gpu tests/test_cuda.py` runs them; with --noconftest also where Flower is not installed.
What can be asked without a GPU is in model/test_device.py and test_pretended_device.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.client.client import SiteClient
from fedklpr_flwr.client.drift_penalty import receive
from fedklpr_flwr.client.epoch import TrainingSteps
from fedklpr_flwr.client.local_loss import OBJECTIVES, EpochStart
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.optimizer import adam
from fedklpr_flwr.client.state_store import fresh_memory
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.data.transforms import evaluation_transform
from fedklpr_flwr.model.device import bring_to_device
from fedklpr_flwr.model.scoring import evaluate_personal_model, features_of
from fedklpr_flwr.model.shared_model import (
    client_network,
    full_masks,
    initial_network,
    shared_layout,
)
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.protocol.task import Task, payload_name
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.system.randomness import named_generator
from fedklpr_flwr.wire.codec import encode

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
METHODS = ("fedklpr", "fedcapr", "fedprox", "feducc", "feduccplus", "fedureid", "fedpav")
INDICES = torch.tensor([0, 5, 9, 13, 17, 1])
SMALL = (
    "model.height=32",
    "model.width=16",
    "labels.source=identities",
    "training.epochs=1",
    "training.max_batches=2",
    "training.persons=3",
    "training.pictures=2",
    "training.padding=2",
    "pruning.rate=0.2",
)


def settings_of(*overrides):
    return compose_settings("smoke", (*SMALL, *overrides))


def on_cpu(*overrides):
    return settings_of("training.device=cpu", *overrides)


def on_gpu(*overrides):
    return settings_of("training.device=cuda", *overrides)


@pytest.fixture(scope="module")
def site():
    """Five persons of two colours, two cameras, two pictures each; four persons to search for."""
    generator = np.random.default_rng(0)

    def pictures(persons: range, count: int) -> Pictures:
        rows = [(p, c) for p in persons for c in range(2) for _ in range(count)]
        pixels = np.empty((len(rows), 3, 32, 16))
        for pixel, (person, camera) in zip(pixels, rows, strict=True):
            colours = np.random.default_rng(person).integers(40, 216, (2, 3, 1, 1))
            pixel[:] = 90 + 60 * camera
            pixel[:, 4:16, 4:12], pixel[:, 16:30, 5:11] = colours
        pixels = (pixels + generator.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
        known = torch.tensor(rows)
        return Pictures(torch.from_numpy(pixels), known[:, 0].clone(), known[:, 1].clone())

    test = range(50, 54)
    return Site("tiny", pictures(range(5), 2), pictures(test, 1), pictures(test, 2))


def half_masks(network, settings):
    """Masks that prune every second weight."""
    masks = full_masks(network, settings)
    for mask in masks.values():
        mask.view(-1)[::2] = False
    return masks


def round_of(settings, site, number=2):
    """A round from the initial network, half of it pruned, on the settings' device."""
    network = client_network(settings, site, pretrained=False)
    memory = fresh_memory(half_masks(network, settings))
    bring_to_device(network, settings.training)
    return run_local_round(network, site, memory, settings, number), network


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the GPU raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_waits_for_the_gpu(method, precision, site):
    settings = on_gpu(f"method={method}", f"training.precision={precision}")
    network = client_network(settings, site, pretrained=False)
    masks = half_masks(network, settings)
    bring_to_device(network, settings.training)
    received = receive(network, "eval", None, settings.method.drift_penalty)
    features = features_of(network, site.train)
    generator = named_generator(0, "test")
    start = EpochStart(network, site.train, features, site.train.persons, settings, generator)
    objective = OBJECTIVES[settings.method.local_loss](start)
    optimizer = adam(network, settings.training, 1e-3)
    steps = TrainingSteps(network, objective, optimizer, received, masks, settings, 0.13)
    images = evaluation_transform(site.train.pixels[INDICES])
    network.train()
    steps.take(images, INDICES)  # the first step sets up what later ones use
    with no_waiting():
        for _ in range(3):
            steps.take(images, INDICES)
    stats = steps.stats()
    assert stats is not None
    assert np.isfinite(stats.loss)


@pytest.mark.parametrize("method", METHODS)
def test_a_round_on_the_gpu_is_the_cpu_s_up_to_rounding(method, site):
    fixed = (f"method={method}", "training.max_batches=1")
    (here, _), (there, network) = (round_of(make(*fixed), site) for make in (on_cpu, on_gpu))
    assert next(network.parameters()).is_cuda
    one, other = here.update.report, there.update.report
    assert other.loss == pytest.approx(one.loss, rel=1e-3)
    assert other.pruned == pytest.approx(one.pruned, abs=1e-6)
    assert (other.clusters, other.outliers, other.crr) == (one.clusters, one.outliers, one.crr)
    for name, mask in here.update.masks.items():
        assert (mask == there.update.masks[name]).float().mean() > 0.99
    for name, value in there.update.tensors.items():
        if name in there.update.masks:
            assert not value[~there.update.masks[name]].any(), "a pruned weight is not zero"


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "auto"])
def test_the_loss_falls_on_the_gpu_in_every_precision(precision, site):
    fixed = (f"training.precision={precision}", "training.max_batches=null", "kl.weight=0")
    first, _ = round_of(on_gpu(*fixed, "training.epochs=1"), site, 1)
    later, _ = round_of(on_gpu(*fixed, "training.epochs=8"), site, 1)
    assert later.update.report.loss < 0.8 * first.update.report.loss


@pytest.mark.parametrize("method", METHODS)
def test_what_leaves_a_round_on_the_gpu_is_on_the_host(method, site):
    settings = on_gpu(f"method={method}", "personal.own_share=0.5")
    result, _ = round_of(settings, site)
    memory = result.memory
    kept = (memory.masks, memory.personal, memory.own, memory.before_prune)
    for tensors in (result.update.tensors, result.update.masks, *kept):
        for tensor in tensors.values():
            assert tensor.device == CPU
            assert tensor.is_contiguous()
    assert memory.labels is None or memory.labels.device == CPU
    assert {value.numpy().dtype for value in result.update.tensors.values()} == {np.dtype("f4")}


def test_a_client_on_the_gpu_speaks_and_stores_as_any_other(site, tmp_path):
    settings = on_gpu("training.final_epochs=1", "method.pruning=always", "crr.rollback=true")
    network = initial_network(settings, pretrained=False)
    masks = {name: mask.numpy() for name, mask in full_masks(network, settings).items()}
    arrays = {name: value.numpy() for name, value in float_state(network).items()}
    layout = shared_layout(settings)
    payload = encode(
        arrays, masks, layout=layout, known_masks=masks, values="float32", level="fast"
    )
    client = SiteClient(site, settings, tmp_path)
    known = mask_hash(full_masks(network, settings))
    task = Task("run", 2, 0, known, payload_name(payload), full=False, last=True)
    update, said = client.train(task, payload)
    assert said["status"] == "ok"
    assert len(update) > 1000
    scored = client.evaluate(replace(task, round=2), payload)
    assert 0 <= scored["rank1_final"] <= 1
    for path in tmp_path.rglob("*.safetensors"):
        with safe_open(str(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                assert file.get_tensor(name).dtype in (np.float32, np.uint8, np.int64)


def test_scores_on_the_gpu_are_the_cpu_s(site):
    scores = []
    for settings in (on_cpu(), on_gpu()):
        network = client_network(settings, site, pretrained=False)
        bring_to_device(network, settings.training)
        scores.append(evaluate_personal_model(network, site))
    assert scores[0].rank1 == pytest.approx(scores[1].rank1, abs=0.13)
    assert scores[0].map == pytest.approx(scores[1].map, abs=0.05)


@pytest.mark.parametrize("accuracy", ["training", "cross_camera", "heldout", "rank1_test"])
@pytest.mark.parametrize("when", ["before_training", "before_last_epoch", "after_training"])
def test_every_moment_and_reading_works_on_the_gpu(accuracy, when, site):
    settings = on_gpu(
        f"crr.accuracy={accuracy}",
        f"pruning.when={when}",
        f"pruning.guard={str(when != 'before_training').lower()}",
        "crr.level=0.0",
        "pruning.first_round=2",
        "pruning.batchnorm=reestimate",
        "training.epochs=2",
        "kl.reference=cached",
    )
    result, _ = round_of(settings, site)
    assert result.update.report.accuracy is not None


@pytest.mark.parametrize("method", ["lotteryfl", "subfedavg", "local_only"])
def test_the_rivals_pruning_works_on_the_gpu(method, site):
    settings = on_gpu(f"method={method}", "pruning.above=0.0", "pruning.first_round=1")
    result, _ = round_of(settings, site)
    assert result.update.report.examples == len(site.train)


def test_unlabelled_pictures_are_clustered_on_the_gpu(site):
    fixed = ("labels.source=clusters", "labels.min_samples=2", "labels.k1=4", "labels.k2=2")
    result, _ = round_of(on_gpu(*fixed, "labels.eps=0.7"), site)
    assert result.update.report.clusters + result.update.report.outliers > 0


@pytest.mark.slow
def test_a_compiled_step_on_the_gpu_keeps_names_and_loss(site):
    plain, _ = round_of(on_gpu("training.max_batches=1"), site)
    compiled, network = round_of(on_gpu("training.max_batches=1", "training.compile=true"), site)
    assert not any("_orig_mod" in name for name in network.state_dict())
    assert compiled.update.report.loss == pytest.approx(plain.update.report.loss, rel=1e-3)

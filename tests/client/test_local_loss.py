"""Claims about fedklpr_flwr.client.local_loss: what an epoch is trained for."""

import pytest
import torch

from fedklpr_flwr.client.local_loss import OBJECTIVES, Batch, EpochStart
from fedklpr_flwr.config.settings import Method, Stages
from fedklpr_flwr.data.transforms import evaluation_transform
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import client_network
from fedklpr_flwr.reid.stripes import features_and_map
from fedklpr_flwr.system.randomness import named_generator


@pytest.fixture
def start(tiny_settings, tiny_site):
    """`start("clusters", labels=..., earlier=...)`: an objective and a batch for it."""

    def make(loss, labels=None, earlier=None, *overrides):
        classifier = loss == "identity_classifier"
        parts = f"method.personal_parts={'classifier' if classifier else 'none'}"
        settings = tiny_settings(f"method.local_loss={loss}", parts, *overrides)
        network = client_network(settings, tiny_site, pretrained=False)
        features = features_of(network, tiny_site.train)
        labels = tiny_site.train.persons if labels is None else labels
        generator = named_generator(0, "test")
        epoch = EpochStart(network, tiny_site.train, features, labels, settings, generator, earlier)
        indices = torch.tensor([0, 5, 9, 13, 17, 1])
        images = evaluation_transform(tiny_site.train.pixels[indices])
        network.eval()
        batch = Batch(indices, *features_and_map(network, images))
        return OBJECTIVES[loss](epoch), batch

    return make


def test_every_choice_of_the_settings_has_an_objective():
    (field,) = [f for f in Method.__dataclass_fields__.values() if f.name == "local_loss"]
    assert set(field.metadata["choices"]) == set(OBJECTIVES)
    assert set(Stages.__dataclass_fields__["local_loss"].metadata["choices"]) < set(OBJECTIVES)


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_an_objective_has_a_finite_loss_with_a_gradient_and_counts_its_batch(loss, start):
    objective, batch = start(loss)
    value = objective.loss(batch)
    value.backward()
    assert value.isfinite()
    assert value.ndim == 0
    counted = objective.correct(batch)
    assert 0 <= counted <= len(batch.indices)
    assert objective.correct(batch) == counted, "counting moved the memory"
    assert objective.sampling_labels.shape == (20,)


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("clusters_cameras", ("clusters", "camera_proxies")),
        ("clusters_cameras_patches", ("clusters_cameras", "clusters_patches", "-clusters")),
    ],
)
def test_a_loss_of_several_parts_is_their_sum(whole, parts, start):
    def value(name):
        objective, batch = start(name.removeprefix("-"))
        return float(objective.loss(batch).detach()) * (-1 if name.startswith("-") else 1)

    assert value(whole) == pytest.approx(sum(value(part) for part in parts), rel=1e-5)


def test_the_weight_of_the_patches_is_that_of_their_loss_alone(start):
    def value(loss, *overrides):
        objective, batch = start(loss, None, None, *overrides)
        return float(objective.loss(batch).detach())

    alone = value("clusters")
    half, whole = (value("clusters_patches", f"patches.weight={w}") for w in (0.5, 1.0))
    assert half - alone == pytest.approx((whole - alone) / 2, rel=1e-4)
    assert value("clusters_patches", "patches.weight=0") == pytest.approx(alone)


def test_outliers_are_in_no_centroid_and_are_not_sampled(start, tiny_site):
    labels = tiny_site.train.persons.clone()
    labels[18:] = -1
    for loss in ("camera_proxies", "clusters", "clusters_patches"):
        objective, batch = start(loss, labels)
        assert objective.sampling_labels[18:].tolist() == [-1, -1]
        assert objective.loss(batch).isfinite()


def test_the_repelled_memory_lives_on_while_the_labels_do(start, tiny_site):
    first, batch = start("repelled")
    blind = float(first.loss(batch).detach())
    first.update(batch)
    learnt = float(first.loss(batch).detach())
    assert learnt != pytest.approx(blind)
    same, _ = start("repelled", None, first)
    assert float(same.loss(batch).detach()) == pytest.approx(learnt)
    other, _ = start("repelled", (tiny_site.train.persons + 1) % 5, first)
    assert float(other.loss(batch).detach()) == pytest.approx(blind)


def test_only_losses_of_single_pictures_are_drawn_shuffled(start):
    shuffled = {loss for loss in OBJECTIVES if start(loss)[0].shuffled}
    assert shuffled == {"repelled", "identity_classifier"}

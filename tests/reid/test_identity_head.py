"""Claims about fedklpr_flwr.reid.identity_head: FedPav's classifier of a client's own persons."""

import math

import pytest
import torch
from torch.nn import functional

from fedklpr_flwr.reid.identity_head import IdentityHead


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


FEATURES = functional.normalize(torch.randn(6, 8, generator=generator(9)), dim=1)
PERSONS = torch.tensor([0, 2, 1, 1, 0, 2])


def head(**more):
    made = IdentityHead(8, 3, generator=generator(), **more)
    with torch.no_grad():
        made.weight.copy_(torch.randn(3, 8, generator=generator(1)))
        made.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return made


def test_without_dropout_the_loss_is_the_cross_entropy_of_scaled_features():
    model, total = head(dropout=0.0), 0.0
    for feature, person in zip(FEATURES.tolist(), PERSONS.tolist(), strict=True):
        logits = [
            math.sqrt(8) * sum(w * f for w, f in zip(row, feature, strict=True)) + bias
            for row, bias in zip(model.weight.tolist(), model.bias.tolist(), strict=True)
        ]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[person]
    loss = model.loss(FEATURES, PERSONS, generator())
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    """The gradient of a sum of logits says which dimensions were kept, and how they were scaled."""
    model = IdentityHead(1000, 2, generator=generator(), dropout=0.25)
    with torch.no_grad():
        model.weight.copy_(torch.stack([torch.ones(1000), torch.zeros(1000)]))
    features = torch.zeros(20, 1000, requires_grad=True)
    model.loss(features, torch.ones(20, dtype=torch.int64), generator(3)).backward()
    # At zero both persons are as likely: d loss / d feature = 1/20 * 1/2 * sqrt(D) * kept / 0.75.
    scale = 20 * 2 / math.sqrt(1000) * features.grad
    kept = scale != 0
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.01)
    assert scale[kept].min().item() == pytest.approx(1 / 0.75, rel=1e-4)
    assert scale[kept].max().item() == pytest.approx(1 / 0.75, rel=1e-4)


def test_the_generator_alone_decides_weights_and_dropout():
    torch.manual_seed(0)
    one = IdentityHead(8, 3, generator=generator())
    loss = head().loss(FEATURES, PERSONS, generator(4))
    torch.manual_seed(1)
    other = IdentityHead(8, 3, generator=generator())
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(loss, head().loss(FEATURES, PERSONS, generator(4)))
    assert not torch.equal(loss, head().loss(FEATURES, PERSONS, generator(5)))


def test_gradients_reach_the_features_and_the_head():
    features, model = FEATURES.clone().requires_grad_(), head()
    model.loss(features, PERSONS, generator()).backward()
    for value in (features, model.weight, model.bias):
        assert value.grad.abs().sum() > 0


def test_right_is_whose_largest_logit_is_its_own_person():
    model = head()
    expected = sum(
        int(model(FEATURES[i : i + 1]).argmax()) == int(PERSONS[i]) for i in range(len(PERSONS))
    )
    assert model.correct(FEATURES, PERSONS) == expected


def test_a_client_without_known_persons_has_an_empty_head():
    assert IdentityHead(8, 0, generator=generator()).weight.shape == (0, 8)

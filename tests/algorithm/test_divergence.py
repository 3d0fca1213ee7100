import math

import pytest
import torch
from torch.nn import functional

from fedklpr_flwr.algorithm.divergence import (
    cosine_distance,
    cosine_regularization_loss,
    default_temperature,
    kl_divergence,
    kl_regularization_loss,
    knowledge_gain,
    log_distribution,
    proximal_loss,
)
from fedklpr_flwr.errors import SettingsError, WeightsError


def unit_rows(count, dim, seed):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(rows, dim=1)


def slow_distribution(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_the_distribution_is_a_softmax_over_dimensions():
    features = unit_rows(3, 5, 0)
    fast = log_distribution(features, 0.4).exp()
    slow = torch.tensor([slow_distribution(row, 0.4) for row in features.tolist()])
    torch.testing.assert_close(fast, slow)
    uniform = log_distribution(features, 1e9).exp()
    torch.testing.assert_close(uniform, torch.full((3, 5), 0.2))


def test_kl_of_a_coin_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert kl_divergence(p.log(), q.log()).item() == pytest.approx(expected, rel=1e-6)
    assert kl_divergence(p.log(), p.log()).item() == 0.0


def test_the_loss_has_the_received_model_first():
    local, received = unit_rows(4, 6, 1), unit_rows(4, 6, 2)
    expected = sum(
        slow_kl(slow_distribution(r, 0.3), slow_distribution(f, 0.3))
        for f, r in zip(local.tolist(), received.tolist(), strict=True)
    )
    assert kl_regularization_loss(local, received, 0.3).item() == pytest.approx(expected / 4, 1e-5)


def test_the_gain_has_the_trained_model_first():
    after, before = unit_rows(4, 6, 1), unit_rows(4, 6, 2)
    expected = sum(
        slow_kl(slow_distribution(a, 0.3), slow_distribution(b, 0.3))
        for a, b in zip(after.tolist(), before.tolist(), strict=True)
    )
    assert knowledge_gain(after, before, 0.3) == pytest.approx(expected / 4, rel=1e-6)


def test_no_change_is_no_divergence_and_no_gradient():
    features = unit_rows(5, 8, 3)
    local = features.clone().requires_grad_()
    loss = kl_regularization_loss(local, features, 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-7)
    torch.testing.assert_close(local.grad, torch.zeros(5, 8), atol=1e-6, rtol=0)
    assert knowledge_gain(features, features, 0.2) == 0.0
    assert cosine_distance(features, features) == pytest.approx(0.0, abs=1e-12)


def test_no_gradient_reaches_the_received_model():
    local = unit_rows(2, 4, 4).requires_grad_()
    received = unit_rows(2, 4, 5).requires_grad_()
    kl_regularization_loss(local, received, 0.5).backward()
    cosine_regularization_loss(local, received).backward()
    assert received.grad is None
    assert local.grad.abs().sum() > 0


def test_a_descent_on_the_loss_brings_the_local_features_nearer():
    local, received = unit_rows(3, 6, 6).requires_grad_(), unit_rows(3, 6, 7)
    before = kl_regularization_loss(local, received, 0.4)
    before.backward()
    nearer = local.detach() - 0.01 * local.grad
    assert kl_regularization_loss(nearer, received, 0.4) < before


@pytest.mark.parametrize("dim", [512, 2048])
@pytest.mark.parametrize("temperature", [1.0, 0.07, None])
def test_kl_is_about_one_less_cosine_over_d_tau_squared(dim, temperature):
    temperature = temperature or default_temperature(dim)
    before = unit_rows(64, dim, 8).double()
    after = functional.normalize(before + 0.1 * unit_rows(64, dim, 9), dim=1)
    expected = cosine_distance(after, before) / (dim * temperature**2)
    assert knowledge_gain(after, before, temperature) / expected == pytest.approx(1, abs=0.12)


def test_the_default_temperature_is_one_over_root_d():
    assert default_temperature(2048) == pytest.approx(0.0221, abs=1e-4)
    with pytest.raises(SettingsError, match="0"):
        default_temperature(0)


def test_cosine_terms_by_hand():
    local = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    received = torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    assert cosine_regularization_loss(local, received).item() == pytest.approx(0.5)
    assert cosine_distance(local, received) == pytest.approx(0.5)
    assert cosine_distance(local, -local) == pytest.approx(2.0)


def test_the_proximal_term_is_half_the_squared_step_and_pulls_back_along_it():
    weight = torch.tensor([1.0, 4.0], requires_grad=True)
    bias = torch.tensor(3.0, requires_grad=True)
    received = {"w": torch.tensor([0.0, 2.0]), "b": torch.tensor(3.0), "mean": torch.zeros(2)}
    loss = proximal_loss({"w": weight, "b": bias}, received)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * (1 + 4))
    assert weight.grad.tolist() == [1.0, 2.0]
    assert bias.grad.item() == 0.0
    with pytest.raises(WeightsError, match="'z'"):
        proximal_loss({"z": weight}, received)


def test_bad_temperatures_and_batches_are_refused():
    features = unit_rows(2, 3, 0)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(SettingsError, match="temperature"):
            log_distribution(features, temperature)
    with pytest.raises(SettingsError, match="same pictures"):
        knowledge_gain(features, features[:1], 0.5)
    with pytest.raises(SettingsError, match="at least one"):
        cosine_distance(features[:0], features[:0])

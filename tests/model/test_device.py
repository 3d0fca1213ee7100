"""Claims about fedklpr_flwr.model.device: where a client computes, and in what precision."""

import pytest
import torch

from fedklpr_flwr.client.drift_penalty import receive
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.state_store import fresh_memory
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.model.device import (
    bring_to_device,
    evaluation_device,
    placed,
    training_device,
    training_forward,
)
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import client_network, full_masks
from fedklpr_flwr.reid.network import float_state

CPU = torch.device("cpu")


def round_of(settings, site, number=2):
    """A round from the initial network, nothing pruned yet."""
    network = client_network(settings, site, pretrained=False)
    memory = fresh_memory(full_masks(network, settings))
    bring_to_device(network, settings.training)
    return run_local_round(network, site, memory, settings, number), network


# ---------------------------------------------------------------------------- choosing


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_auto_is_the_cpu(device, tiny_settings, without_cuda):
    assert training_device(tiny_settings(f"training.device={device}").training) == CPU


def test_cuda_without_a_gpu_is_refused_when_a_client_opens(tiny_settings, tiny_site, without_cuda):
    settings = tiny_settings("training.device=cuda")  # composing on a server without a GPU is fine
    network = client_network(settings, tiny_site, pretrained=False)
    with pytest.raises(SettingsError, match=r"training\.device=cuda.*set training\.device=auto"):
        bring_to_device(network, settings.training)


def test_a_model_trained_on_cuda_is_evaluated_where_there_is_none(tiny_settings, without_cuda):
    assert evaluation_device(tiny_settings("training.device=cuda").training) == CPU


@pytest.mark.parametrize("word", ["device=gpu", "precision=half", "compile=3"])
def test_what_no_device_knows_is_refused_when_settings_are_composed(word, tiny_settings):
    with pytest.raises(SettingsError, match=word.split("=")[0]):
        tiny_settings(f"training.{word}")


def test_float32_is_the_default_precision():
    for experiment in ("drawn", "real_small"):
        assert compose_settings(experiment, ("data.root=/",)).training.precision == "float32"


# ---------------------------------------------------------------------------- precision on the CPU


@pytest.mark.slow
def test_bfloat16_trains_and_leaves_float32_behind(tiny_settings, tiny_site):
    fixed = "training.max_batches=1"
    exact, _ = round_of(tiny_settings(fixed), tiny_site)
    half, network = round_of(tiny_settings(fixed, "training.precision=bfloat16"), tiny_site)
    assert network.half_precision
    assert half.update.report.loss == pytest.approx(exact.update.report.loss, rel=0.05)
    assert half.update.report.loss != exact.update.report.loss, "nothing was computed in bfloat16"
    assert {value.dtype for value in half.update.tensors.values()} == {torch.float32}
    assert features_of(network, tiny_site.train).dtype == torch.float32


def test_the_received_copy_computes_in_the_network_s_precision(tiny_settings, tiny_site):
    settings = tiny_settings()
    network = client_network(settings, tiny_site, pretrained=False)
    network.half_precision = True
    assert receive(network, "eval", None).network.half_precision


def test_auto_precision_is_what_this_cpu_gains_by(tiny_settings, tiny_site):
    settings = tiny_settings("training.precision=auto")
    network = client_network(settings, tiny_site, pretrained=False)
    first = placed(network, settings.training, CPU).half_precision
    assert placed(network, settings.training, CPU).half_precision is first


@pytest.mark.slow
def test_a_compiled_network_trains_as_itself_and_keeps_its_names(tiny_settings, tiny_site):
    plain, network = round_of(tiny_settings(), tiny_site)
    names = list(network.state_dict())
    compiled, network = round_of(tiny_settings("training.compile=true"), tiny_site)
    assert list(network.state_dict()) == names
    assert compiled.update.tensors.keys() == plain.update.tensors.keys()
    assert compiled.update.report.loss == pytest.approx(plain.update.report.loss, rel=1e-3)


@pytest.mark.slow
def test_compile_is_of_the_training_step_alone(tiny_settings, tiny_site):
    settings = tiny_settings("training.compile=true")
    network = client_network(settings, tiny_site, pretrained=False)
    forward = training_forward(network, settings.training)
    assert forward is not network
    assert training_forward(network, tiny_settings().training) is network
    assert not any("_orig_mod" in name for name in float_state(network))

"""Claims about fedklpr_flwr.launch.machine_note: a run says what its bits depend on."""

import torch

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.launch.machine_note import machine_note


def test_processor_torch_and_threads_are_named():
    said = machine_note(compose_settings("smoke", ("training.device=cpu", "training.threads=2")))
    assert torch.backends.cpu.get_cpu_capability() in said
    assert torch.__version__ in said
    assert "training.threads=2" in said
    assert "equal to the bit here" in said


def test_a_device_that_is_not_there_is_not_this_notes_to_refuse(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "equal to the bit" in machine_note(compose_settings("smoke", ("training.device=cuda",)))

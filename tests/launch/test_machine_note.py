"""Claims about fedklpr_flwr.launch.machine_note: a run says what its bits depend on."""

import os

import pytest
import torch

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.launch.machine_note import busy_note, machine_note


def test_processor_torch_and_threads_are_named():
    said = machine_note(compose_settings("smoke", ("training.device=cpu", "training.threads=2")))
    assert torch.backends.cpu.get_cpu_capability() in said
    assert torch.__version__ in said
    assert "training.threads=2" in said
    assert "equal to the bit here" in said


def test_a_device_that_is_not_there_is_not_this_notes_to_refuse(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "equal to the bit" in machine_note(compose_settings("smoke", ("training.device=cuda",)))


@pytest.mark.parametrize(
    ("load", "said"), [(0.9, ""), (3.9, ""), (4.1, "a load of 4.1 on 4 cores")]
)
def test_a_machine_that_has_other_things_to_do_says_so(monkeypatch, load, said):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert said in busy_note()
    assert bool(said) == bool(busy_note())

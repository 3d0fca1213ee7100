"""What a run computes on, and whether another machine's figures are the same."""

import os
import platform
from pathlib import Path

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.model.device import training_device


def machine_note(settings: Settings) -> str:
    """Say what computes, and whether the same command gives the same bits again."""
    try:
        on_gpu = training_device(settings.training).type == "cuda"
    except SettingsError:  # said where it is needed
        on_gpu = False
    if on_gpu:
        return (
            f"computes on {torch.cuda.get_device_name()}, torch {torch.__version__}: two runs with "
            "one seed differ in their last bits, and in clusters and accuracies after them"
        )
    units = torch.backends.cpu.get_cpu_capability()
    threads = settings.training.threads
    return (
        f"computes on {_processor()} ({units}), torch {torch.__version__}, training.threads="
        f"{threads}: equal to the bit here; with another processor, torch or number of threads "
        "last bits differ, and clusters and accuracies after them"
    )


def busy_note() -> str:
    """Say that others compute here already, where they do; else empty."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores:
        return ""
    return (
        f"this machine is busy (a load of {load:.1f} on {cores} cores): what is told of times "
        "holds for a quiet one"
    )


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()

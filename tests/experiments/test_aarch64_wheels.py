"""Claims about what a base install brings to an edge box."""

import tomllib
from pathlib import Path

import pytest

from experiments.aarch64_wheels import base_install

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
NOT_ON_A_BOX = {"ray", "wandb", "matplotlib", "h5py", "pytest"}


@pytest.fixture(scope="module")
def installed():
    return base_install()


def test_a_base_install_is_free_of_ray_and_wandb(installed):
    assert {"flwr", "torch", "hydra-core", "omegaconf"} <= installed.keys(), "the walk went nowhere"
    assert installed.keys() & NOT_ON_A_BOX == set()


def test_what_only_a_server_a_report_or_a_study_needs_is_in_an_extra(installed):
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert {"simulation", "report", "data", "dev"} <= extras.keys()
    assert any(line.startswith("wandb") for line in extras["report"])
    assert extras["simulation"] == ["flwr[simulation]>=1.41,<1.43"]


def test_torch_is_in_and_what_it_brings_for_a_gpu_is_not_counted(installed):
    assert not [name for name in installed if name.startswith(("nvidia-", "cuda-", "triton"))]

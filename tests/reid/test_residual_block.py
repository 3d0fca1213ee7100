"""The basic block is torchvision's to the bit, without torchvision."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from fedklpr_flwr.reid.residual_block import ResidualBlock


def torchvisions(inputs: int, outputs: int, stride: int) -> BasicBlock:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    return BasicBlock(inputs, outputs, stride, shortcut)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 8, 2), (4, 8, 1), (8, 8, 1)])
def test_it_draws_and_computes_what_torchvisions_block_does(inputs, outputs, stride):
    torch.manual_seed(0)
    ours = ResidualBlock(inputs, outputs, stride=stride)
    torch.manual_seed(0)
    theirs = torchvisions(inputs, outputs, stride)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    maps = torch.randn(3, inputs, 6, 4)
    assert torch.equal(ours(maps), theirs(maps))


@pytest.mark.slow
def test_the_small_network_needs_no_torchvision():
    code = (
        "import sys; from fedklpr_flwr.reid.network import build_network; "
        "build_network('small', weights=None, generator_seed=0); "
        "print('torchvision' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

"""Claims about the noise of local differential privacy: its size, its source, its grid."""

import math
import os
import struct

import pytest
import torch

from fedklpr_flwr.client.dp_noise import add_noise, draw_normal
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.system.key_stream import open_stream

PRIVATE = ("privacy=local_dp", "pruning.first_round=1")


def noised(learnt, *overrides, masks=None, name="w", received=5.0):
    """What becomes of an update: the received value is 5 everywhere."""
    before = {name: torch.full(learnt.shape, received)}
    state = {name: before[name] + learnt}
    settings = compose_settings("smoke", (*PRIVATE, *overrides))
    add_noise(state, before, masks or {}, settings, "gate", 1)
    return state[name] - received


def test_what_was_learnt_is_shortened_to_the_clip_and_a_shorter_update_is_not():
    almost_none = ("privacy.clip=2", "privacy.noise=0.001")
    long = noised(torch.tensor([30.0, 40.0]), *almost_none)
    assert torch.allclose(long, torch.tensor([1.2, 1.6]), atol=0.03)
    short = noised(torch.tensor([0.3, 0.4]), *almost_none)
    assert torch.allclose(short, torch.tensor([0.3, 0.4]), atol=0.03)


def test_the_noise_is_twice_the_clip_times_the_multiplier_and_never_the_same():
    settings = ("privacy.clip=0.5", "privacy.noise=3")
    first, second = (noised(torch.zeros(40_000), *settings) for _ in range(2))
    assert first.std() == pytest.approx(2 * 0.5 * 3, rel=0.02)
    assert abs(float(first.mean())) < 0.06
    assert not torch.equal(first, second)


def test_noise_of_the_runs_seed_is_the_same_again():
    seeded = [noised(torch.zeros(9), "privacy.randomness=seed") for _ in range(2)]
    assert torch.equal(*seeded)
    assert not torch.equal(seeded[0], noised(torch.zeros(9), "privacy.randomness=seed", "seed=2"))


def test_pruned_weights_stay_zero_and_variances_positive():
    mask = torch.tensor([True, False, True])
    kept = noised(torch.zeros(3), masks={"w": mask}) + 5.0
    assert kept[1] == 0
    assert kept[0] != 0
    variances = noised(torch.full((1000,), -5.0), "privacy.noise=9", name="bn.running_var") + 5.0
    assert variances.min() > 0


def test_noise_makes_no_variance_smaller_than_a_quarter_so_that_features_at_most_double():
    """A batch norm divides by its root: 1e-5 in place of .01 would be a factor of 30."""
    strong = ("privacy.clip=0.5", "privacy.noise=1")
    variances = noised(torch.zeros(1000), *strong, name="bn.running_var", received=0.01) + 0.01
    assert variances.min() == pytest.approx(0.0025)
    assert variances.max() > 1
    assert 300 < int((variances > 0.01).sum()) < 700, "those above are as the noise made them"


@pytest.mark.parametrize("astray", [math.nan, math.inf])
def test_an_update_that_went_astray_leaves_as_noise_alone(astray):
    out = noised(torch.tensor([1000.0, astray]), "privacy.noise=0.001")
    assert out.abs().max() < 0.05


@pytest.mark.parametrize("place", [4, 17, 31])
def test_two_keys_alike_in_their_low_32_bits_give_other_noise(place):
    """mt19937, of releases before, had one stream for all keys with these bits in common."""
    key = bytearray(os.urandom(32))
    other = bytearray(key)
    other[place] ^= 1
    first, second = (draw_normal(open_stream(bytes(k)), 1000) for k in (key, other))
    assert int((first == second).sum()) == 0
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.2


def test_no_generator_that_a_search_of_32_bits_finds_draws_the_noise(monkeypatch):
    """The noise asks the operating system for 256 bits, and torch's generator for none."""
    asked = []

    def note(count, urandom=os.urandom):
        asked.append(count)
        return urandom(count)

    monkeypatch.setattr(os, "urandom", note)
    before = torch.get_rng_state()
    noised(torch.zeros(4))
    assert asked == [32]
    assert torch.equal(before, torch.get_rng_state())


def test_normal_numbers_are_box_and_mullers_of_the_streams_own_bits():
    key = bytes(range(32))
    words = struct.unpack("<10Q", open_stream(key).update(bytes(80)))
    uniform = [(word >> 11) * 2.0**-53 for word in words]
    slow = [
        math.sqrt(-2 * math.log(u + 2.0**-53)) * turn(2 * math.pi * v)
        for turn in (math.cos, math.sin)
        for u, v in zip(uniform[:5], uniform[5:], strict=True)
    ]
    drawn = draw_normal(open_stream(key), 9)
    assert drawn.dtype == torch.float64
    assert torch.allclose(drawn, torch.tensor(slow[:9], dtype=torch.float64), rtol=1e-12)
    assert draw_normal(open_stream(key), 0).shape == (0,)


def test_a_million_numbers_have_a_normals_moments_and_tails():
    drawn = draw_normal(open_stream(bytes(32)), 1_000_000)
    moments = [float((drawn**power).mean()) for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0.0, 1.0, 0.0, 3.0], abs=0.03)
    for bound in (1.0, 2.0, 3.0):
        share = float((drawn.abs() < bound).double().mean())
        assert share == pytest.approx(math.erf(bound / math.sqrt(2)), abs=0.002)


def test_what_leaves_lies_on_a_grid_whatever_was_learnt():
    """Were it not rounded, the last bits of a sum would tell which update it was made of."""
    step = 2.0 / 1024  # deviation 2 C z = 2
    for learnt in (0.0, 0.1, 1 / 3):
        out = noised(torch.full((5000,), learnt), "privacy.clip=1", "privacy.noise=1", received=0.3)
        sent = out + 0.3
        assert (sent.double() / step - (sent.double() / step).round()).abs().max() < 1e-3
        assert len(sent.unique()) > 1000

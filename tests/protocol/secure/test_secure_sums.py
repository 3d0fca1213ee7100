"""Claims about blinding: sums are exact, single updates are noise, drop-outs are recovered."""

import itertools
import os

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.secure.blinding import (
    Place,
    add_stream,
    blind,
    take_off_absent,
    take_off_seed,
)
from fedklpr_flwr.protocol.secure.keys import agreed_secret, new_secrets, stream_key
from fedklpr_flwr.protocol.secure.quantise import (
    HIGHEST,
    LOWEST,
    agreed_exponents,
    dequantise,
    exponent_of,
    quantise,
    step_of,
)
from fedklpr_flwr.system.key_stream import open_stream

NAMES = ("ash", "birch", "cedar", "dogwood")
PLACE = Place("run", 3)
SECRETS = {name: new_secrets() for name in NAMES}
PUBLIC = {name: secrets.public.blinding for name, secrets in SECRETS.items()}


def blinded(values, client, names=NAMES, place=PLACE):
    """What a client sends of its values."""
    others = {name: PUBLIC[name] for name in names if name != client}
    found = values.copy()
    blind(found, place, client, SECRETS[client].seed, SECRETS[client].blinding, others)
    return found


def numbers(seed, count=9):
    return np.random.default_rng(seed).integers(0, 2**16, count).astype(np.uint16)


# ---------------------------------------------------------------------------- blinding


@pytest.mark.parametrize("present", [*itertools.combinations(NAMES, 3), NAMES])
def test_the_sum_of_those_who_came_is_exact_whoever_drops_out(present):
    values = {name: numbers(place) for place, name in enumerate(NAMES)}
    total = np.zeros(9, np.uint16)
    for name in present:
        total += blinded(values[name], name)
    for name in present:
        take_off_seed(total, PLACE, name, SECRETS[name].seed)
    for name in {*NAMES} - {*present}:
        held = {other: PUBLIC[other] for other in present}
        take_off_absent(total, PLACE, name, SECRETS[name].blinding, held)
    expected = [sum(int(values[name][at]) for name in present) % 2**16 for at in range(9)]
    assert total.tolist() == expected


def test_the_streams_are_those_of_the_formula_one_number_after_the_other():
    """A slow loop: bytes of ChaCha20 taken two by two, added for names before, else subtracted."""
    own = SECRETS["birch"]
    streams = [(1, stream_key(own.seed, "own", "run", 3, "birch"))]
    for other, sign in (("ash", 1), ("cedar", -1)):
        secret = agreed_secret(own.blinding, PUBLIC[other])
        names = sorted(("birch", other))
        streams.append((sign, stream_key(secret, "pair", "run", 3, *names)))
    expected = [7, 65_535, 0]
    for sign, key in streams:
        drawn = open_stream(key).update(bytes(6))
        for at in range(3):
            number = drawn[2 * at] + 256 * drawn[2 * at + 1]
            expected[at] = (expected[at] + sign * number) % 2**16
    found = blinded(np.array([7, 65_535, 0], np.uint16), "birch", NAMES[:3])
    assert found.tolist() == expected


def test_a_blinded_update_is_as_even_as_chance_and_another_in_every_round_and_run():
    values = np.zeros(2_000_000, np.uint16)
    first = blinded(values, "ash")
    high = np.bincount(first >> 8, minlength=256)
    assert abs(high - 2_000_000 / 256).max() < 7 * np.sqrt(2_000_000 / 256)
    assert (first == 2**16 - 1).any()  # Flower's generator never draws the last number
    for other in (Place("run", 4), Place("run2", 3)):
        second = blinded(values, "ash", place=other)
        assert np.count_nonzero(first == second) < 90  # 30 by chance


def test_a_stream_goes_on_over_its_blocks(monkeypatch):
    key, whole = os.urandom(32), np.zeros(11, np.uint16)
    add_stream(whole, key)
    monkeypatch.setattr("fedklpr_flwr.protocol.secure.blinding._AT_ONCE", 4)
    parts = np.zeros(11, np.uint16)
    add_stream(parts, key)
    assert parts.tolist() == whole.tolist()
    add_stream(parts, key, sign=-1)
    assert not parts.any()


# ---------------------------------------------------------------------------- whole numbers


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (1.0, 0),
        (1.0000001, 1),
        (0.75, 0),
        (0.5, -1),
        (-3.0, 2),
        (0.0, LOWEST),
        (1e-45, LOWEST),
        (2.0**HIGHEST, HIGHEST),
    ],
)
def test_the_exponent_is_the_smallest_power_of_two_that_bounds_a_change(largest, exponent):
    assert exponent_of(np.array([largest, 0.0], np.float32)) == exponent


@pytest.mark.parametrize("astray", [np.nan, np.inf, -np.inf, 3e20])
def test_a_change_that_went_astray_is_refused(astray):
    with pytest.raises(WireError, match="cannot be summed: expected finite numbers"):
        exponent_of(np.array([0.1, astray], np.float32))


def test_a_tensor_without_numbers_has_the_lowest_exponent():
    assert exponent_of(np.zeros(0, np.float32)) == LOWEST


def test_the_agreed_range_is_the_largest_of_each_tensor():
    assert agreed_exponents([[-3, 5], [2, -9], [0, 0]]) == [2, 5]


@pytest.mark.parametrize("clients", [2, 3, 64, 1000])
def test_a_sum_never_overflows_and_is_wrong_by_half_a_step_a_client_at_most(clients):
    generator = np.random.default_rng(clients)
    weights = generator.dirichlet(np.ones(clients))
    changes = generator.uniform(-1, 1, (clients, 50)).astype(np.float32)
    changes[:, 0], changes[:, 1] = 1.0, -1.0  # all at the end of the range: the largest sums
    step = step_of(0, clients)
    total = np.zeros(50, np.uint16)
    for weight, change in zip(weights, changes, strict=True):
        total += quantise(change, weight, step)
    found = dequantise(total, step)
    for at in range(50):
        exact = sum(w * float(change[at]) for w, change in zip(weights, changes, strict=True))
        assert abs(found[at] - exact) <= clients * step / 2 + 1e-12


def test_the_largest_change_of_all_weight_fits_and_an_idle_client_sends_noughts():
    step = step_of(-3, 2)
    whole = quantise(np.array([0.125, -0.125], np.float32), 1.0, step)
    assert dequantise(whole, step) == pytest.approx([0.125, -0.125], abs=step)
    assert quantise(np.array([0.125], np.float32), 0.0, step).tolist() == [0]

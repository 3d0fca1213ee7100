"""Claims about the secrets of a round: who can put them together, and who cannot."""

import itertools

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.secure.keys import (
    SEED_BYTES,
    agreed_secret,
    joined_blinding_key,
    joined_secret,
    joined_seed,
    make_shares,
    new_secrets,
    public_half,
    seal,
    seed_mark,
    stream_key,
    threshold,
    unseal,
)

ASH, BIRCH, CEDAR = (new_secrets() for _ in range(3))


@pytest.mark.parametrize(
    ("clients", "needed"), [(2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (8, 6), (9, 6), (64, 43)]
)
def test_a_third_may_drop_out_and_more_than_half_must_answer(clients, needed):
    assert threshold(clients) == needed
    assert needed > clients / 2
    assert clients - needed <= clients / 3 < clients - needed + 1


def test_both_sides_agree_on_a_secret_and_nobody_else_on_the_same():
    secret = agreed_secret(ASH.blinding, BIRCH.public.blinding)
    assert len(secret) == 32
    assert secret == agreed_secret(BIRCH.blinding, ASH.public.blinding)
    assert secret != agreed_secret(CEDAR.blinding, ASH.public.blinding)


def test_secrets_are_new_every_time():
    found = [new_secrets() for _ in range(3)]
    assert len({value for of in found for value in (of.seed, of.blinding, of.sealing)}) == 9


def test_stream_keys_differ_by_what_they_are_for_and_names_are_told_apart():
    keys = [
        stream_key(bytes(32), *names)
        for names in [("own", "r", 1), ("own", "r", 2), ("pair", "r", 1), ("ownr", "", 1)]
    ]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {32}
    assert stream_key(bytes(32), "a") != stream_key(bytes(31) + b"\1", "a")


def test_any_two_thirds_give_seed_and_key_and_one_fewer_gives_neither():
    shares = make_shares(ASH, 4)
    seeds, keys = zip(*shares, strict=True)
    mark, public = seed_mark(ASH.seed), ASH.public.blinding
    for chosen in itertools.combinations(range(4), 3):
        assert joined_seed([seeds[at] for at in chosen], mark) == ASH.seed
        assert joined_blinding_key([keys[at] for at in chosen], public) == ASH.blinding
    for chosen in itertools.combinations(range(4), 2):
        with pytest.raises(WireError, match="shares of a"):
            joined_seed([seeds[at] for at in chosen], mark)
        with pytest.raises(WireError, match="shares of a"):
            joined_blinding_key([keys[at] for at in chosen], public)


def test_a_wrong_share_is_seen_and_not_used():
    seeds = [seed for seed, _ in make_shares(ASH, 3)]
    others = [seed for seed, _ in make_shares(BIRCH, 3)]
    with pytest.raises(WireError, match="shares of a"):
        joined_seed([seeds[0], others[1]], seed_mark(ASH.seed))
    with pytest.raises(WireError, match="one is wrong"):
        joined_seed(seeds[:2], seed_mark(BIRCH.seed))
    with pytest.raises(WireError, match="one is wrong"):
        joined_blinding_key([key for _, key in make_shares(ASH, 3)][:2], BIRCH.public.blinding)
    for junk in ([], [b""], [b"\0", b"\1"], [seeds[0][:9], seeds[1]], [seeds[0], seeds[0]]):
        with pytest.raises(WireError, match="shares of a secret"):
            joined_secret(junk, SEED_BYTES)


def test_a_sealed_share_opens_for_its_receiver_in_its_round_alone():
    names = ("run", 2, "ash", "birch")
    sealed = seal((b"seed", b"key"), ASH.sealing, BIRCH.public.sealing, *names)
    opened = unseal(sealed, BIRCH.sealing, ASH.public.sealing, *names)
    assert opened == (b"seed", b"key")
    with pytest.raises(WireError, match="does not open"):
        unseal(sealed, CEDAR.sealing, ASH.public.sealing, *names)
    with pytest.raises(WireError, match="another round"):
        unseal(sealed, BIRCH.sealing, ASH.public.sealing, "run", 3, "ash", "birch")
    for damaged in (sealed[:-1], sealed[:-9] + "AAAAAAAAA", "", "é" * 99, "\n"):
        with pytest.raises(WireError, match="does not open"):
            unseal(damaged, BIRCH.sealing, ASH.public.sealing, *names)


@pytest.mark.parametrize("junk", ["", "key", "é", "-----BEGIN PUBLIC KEY-----", "A" * 10_000])
def test_what_is_no_public_key_is_an_error_in_words(junk):
    with pytest.raises(WireError, match="a public key: expected PEM of P-384"):
        agreed_secret(ASH.blinding, junk)


def test_a_key_of_another_curve_is_refused():
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = other.public_bytes(serialization.Encoding.PEM, form).decode()
    with pytest.raises(WireError, match="expected one of P-384"):
        agreed_secret(ASH.blinding, pem)


def test_the_public_half_is_flowers_own_text_of_the_key():
    assert public_half(ASH.blinding) == ASH.public.blinding
    assert ASH.public.blinding.startswith("-----BEGIN PUBLIC KEY-----")

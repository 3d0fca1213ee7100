"""Claims about fedklpr_flwr.wire.section_coding."""

import numpy as np
import pytest
import zstandard

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.section_coding import ANS, NARROW, RAW, ZSTD, open_section, pack_section


def entropy_bytes(plain):
    share = np.bincount(plain) / plain.size
    share = share[share > 0]
    return -(share * np.log2(share)).sum() * plain.size / 8


def draws(shares, count, lowest=0, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.choice(len(shares), count, p=shares) + lowest).astype(np.uint8)


def opened(packed, size):
    return open_section(packed[0], memoryview(packed[1]), size, "x")


def test_noise_and_nothing_are_left_raw():
    noise = np.random.default_rng(0).integers(0, 256, 10_000).astype(np.uint8)
    assert pack_section(noise, "fast")[0] == RAW
    assert pack_section(np.empty(0, np.uint8), "fast") == (RAW, b"")


def test_a_section_is_never_larger_than_its_bytes():
    for size in (1, 2, 10, 100):
        plain = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
        assert len(pack_section(plain, "fast")[1]) <= size


def test_a_wide_range_is_huffman_coded():
    shares = np.full(40, 1 / 40)
    packed = pack_section(draws(shares, 20_000), "fast")
    assert packed[0] == ZSTD
    assert opened(packed, 20_000).tolist() == draws(shares, 20_000).tolist()


@pytest.mark.parametrize("radix", range(2, 17))
@pytest.mark.parametrize("size", [4096, 4097, 5003])
def test_a_narrow_range_is_packed_in_tuples_and_restored(radix, size):
    plain = draws(np.full(radix, 1 / radix), size, lowest=256 - radix)
    packed = pack_section(plain, "fast")
    assert packed[0] == NARROW
    assert opened(packed, size).tolist() == plain.tolist()


def test_tuples_reach_the_entropy_that_single_codes_cannot():
    plain = draws([0.8, 0.15, 0.04, 0.01], 200_000, lowest=118)
    packed = pack_section(plain, "fast")
    assert packed[0] == NARROW
    assert len(packed[1]) < 1.05 * entropy_bytes(plain)
    alone = zstandard.ZstdCompressor(level=1).compress(plain.tobytes())
    assert len(alone) > 1.25 * entropy_bytes(plain)


def test_the_tight_level_reaches_the_entropy():
    pytest.importorskip("constriction")
    plain = draws([0.8, 0.15, 0.04, 0.01], 200_000, lowest=118)
    packed = pack_section(plain, "tight")
    assert packed[0] == ANS
    assert len(packed[1]) < 1.001 * entropy_bytes(plain) + 32
    assert opened(packed, plain.size).tolist() == plain.tolist()


def test_a_raw_section_of_another_length_is_refused():
    with pytest.raises(WireError, match="x: expected 3 raw bytes, got 2"):
        open_section(RAW, memoryview(b"ab"), 3, "x")


def test_an_unknown_coding_is_refused():
    with pytest.raises(WireError, match="got 9"):
        open_section(9, memoryview(b"ab"), 2, "x")


def test_an_empty_section_must_be_empty():
    empty_frame = zstandard.ZstdCompressor().compress(b"")
    with pytest.raises(WireError, match="expected nothing"):
        open_section(ZSTD, memoryview(empty_frame + b"junk"), 0, "x")


def test_a_bomb_is_refused_by_its_announcement():
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(50_000_000))
    with pytest.raises(WireError, match="announces 50000000"):
        open_section(ZSTD, memoryview(bomb), 10_000, "x")


def test_a_bomb_that_announces_less_than_it_holds_is_refused():
    bomb = bytearray(zstandard.ZstdCompressor(level=19).compress(bytes(50_000_000)))
    length_at = 6  # after magic, descriptor and window: four bytes of content size
    assert int.from_bytes(bomb[length_at : length_at + 4], "little") == 50_000_000
    bomb[length_at : length_at + 4] = (10_000).to_bytes(4, "little")
    with pytest.raises(WireError, match="zstd frame"):
        open_section(ZSTD, memoryview(bomb), 10_000, "x")


@pytest.mark.parametrize("coding", [ZSTD, NARROW, ANS])
def test_a_section_longer_than_uncoded_is_refused(coding):
    with pytest.raises(WireError, match="at most the 100 bytes that it has uncoded, got 101"):
        open_section(coding, memoryview(bytes(101)), 100, "x")


def test_frames_that_hide_their_size_or_carry_more_are_refused():
    plain = bytes(range(64)) * 4
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
    whole = zstandard.ZstdCompressor().compress(plain)
    for wrong in (hidden, whole + b"x", whole + whole, whole[:-1], b"", whole[:3]):
        with pytest.raises(WireError, match="x: "):
            open_section(ZSTD, memoryview(wrong), len(plain), "x")
    assert open_section(ZSTD, memoryview(whole), len(plain), "x").tobytes() == plain


def frame(*values):
    return zstandard.ZstdCompressor().compress(bytes(values))


@pytest.mark.parametrize(
    ("section", "size"),
    [
        (b"", 4),
        (b"\x00", 4),
        (bytes((0, 1)) + frame(0, 0), 4),  # one value only
        (bytes((0, 17)) + frame(0, 0), 4),  # too many
        (bytes((250, 7)) + frame(0, 0), 4),  # beyond 255
        (bytes((0, 7)) + frame(0, 49), 4),  # a tuple beyond 7 * 7 - 1
        (bytes((0, 7)) + frame(0, 7), 3),  # padding that is not zero
        (bytes((0, 7)) + frame(0, 0), 5),  # a frame too short
    ],
)
def test_a_narrow_section_that_cannot_be_is_refused(section, size):
    with pytest.raises(WireError, match="x: "):
        open_section(NARROW, memoryview(section), size, "x")

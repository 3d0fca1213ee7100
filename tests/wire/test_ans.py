"""Claims about fedklpr_flwr.wire.ans."""

import sys

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire import ans


def opened(data, size):
    return ans.unpack(memoryview(data), size, "x")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(WireError, match=r"install the extra `tight`.*wire.level=fast"):
        ans.pack(np.array([1, 2, 2], np.uint8))


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _needs_constriction(self):
        pytest.importorskip("constriction")

    @pytest.mark.parametrize("values", [[3, 4], [0, 255], [7] * 30 + [9], list(range(256))])
    def test_bytes_are_restored(self, values):
        plain = np.array(values * 3, np.uint8)
        assert opened(ans.pack(plain), plain.size).tolist() == plain.tolist()

    def test_independent_mask_bits_are_coded_by_halves_at_their_entropy(self):
        kept = np.random.default_rng(0).random(80_000) < 0.1
        plain = np.packbits(kept)
        packed = ans.pack(plain)
        share = kept.mean()
        entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) * kept.size / 8
        assert packed[0] == 4
        assert len(packed) < 1.005 * entropy + 32
        assert opened(packed, plain.size).tolist() == plain.tolist()

    def test_the_table_is_whole_eighths_of_a_bit(self):
        plain = np.repeat(np.array([5, 6, 7, 8], np.uint8), [4096, 2048, 1024, 1024])
        packed = ans.pack(plain)
        assert list(packed[:7]) == [8, 5, 3, 8, 16, 24, 24]

    def test_words_left_over_are_refused(self):
        plain = np.random.default_rng(0).integers(0, 100, 400).astype(np.uint8)
        with pytest.raises(WireError, match="left"):
            opened(ans.pack(plain), 200)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x08\x00",
            b"\x07\x00\x01\x08\x08" + b"\x01\x00\x00\x00",  # 7 bits a symbol
            b"\x08\xff\x01\x08\x08" + b"\x01\x00\x00\x00",  # symbols to 256
            b"\x04\x0f\x01\x08\x08" + b"\x01\x00\x00\x00",  # halves to 16
            b"\x08\x00\x00\x08" + b"\x01\x00\x00\x00",  # a single symbol
            b"\x08\x00\x05\x08\x08",  # a table cut short
            b"\x08\x00\x01\x08\x08" + b"\x01\x00\x00",  # a word cut short
            b"\x08\x00\x01\x08\xff" + b"\x01\x00\x00\x00",  # a share of 2^-32
            b"\x08\x00\x01\x08\x08" + b"\x00\x00\x00\x00",  # words that end in zero
        ],
    )
    def test_a_section_that_cannot_be_is_refused(self, data):
        with pytest.raises(WireError, match="x: "):
            opened(data, 3)

    def test_a_slow_decoder_written_from_the_document_reads_the_same(self):
        shares = np.array([0.7, 0.2, 0.05, 0.03, 0.02])
        plain = (np.random.default_rng(3).choice(5, 500, p=shares) + 120).astype(np.uint8)
        assert slow_unpack(ans.pack(plain), plain.size) == plain.tolist()


def slow_unpack(data, size):
    """Decode as docs/wire-format.md tells it, for symbols of 8 bits."""
    bits, lowest, last = data[:3]
    assert bits == 8
    eighths = [16777216, 15384775, 14107901, 12937002, 11863283, 10878679, 9975792, 9147842]
    weights = [eighths[code % 8] >> code // 8 for code in data[3 : 4 + last]]
    scale = (2**24 - len(weights)) / sum(weights)
    lefts = [int(sum(weights[:number]) * scale) + number for number in range(len(weights))]
    lefts.append(2**24)
    words = [int(word) for word in np.frombuffer(data[4 + last :], "<u4")]
    state = 0
    while words and state < 2**32:
        state = state << 32 | words.pop()
    symbols = []
    for _ in range(size):
        quantile = state % 2**24
        symbol = max(number for number in range(len(weights)) if lefts[number] <= quantile)
        chance = lefts[symbol + 1] - lefts[symbol]
        state = (state >> 24) * chance + quantile - lefts[symbol]
        if state < 2**32 and words:
            state = state << 32 | words.pop()
        symbols.append(symbol + lowest)
    return symbols

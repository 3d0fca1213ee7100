"""Slices of the fuzz run of fuzz_codec.py: one for every day, 20,000 a version when slow."""

import pytest
from fuzz_codec import COMPILES, corpus, fuzz, judge


@pytest.mark.slow
def test_three_thousand_damaged_payloads_do_no_harm():
    result = fuzz(3_000, seed=1)
    assert result["faults"] == []
    assert result["outcomes"]["checksum repaired: refused"] > 500
    assert result["outcomes"]["checksum repaired: a model"] > 25
    assert result["with_a_large_tensor"] > 25


def test_the_judge_notices_damage_that_goes_unrefused():
    """A judge that cannot complain would make the run above worthless."""
    good, other = [case for case in corpus() if not case.held][:2]
    with pytest.raises(AssertionError, match="went past the checksum"):
        judge(good, other.payload, repaired=False)
    with pytest.raises(AssertionError, match="went unnoticed"):
        judge(good, other.payload, repaired=True)
    assert judge(good, good.payload[:-1], repaired=True) == "refused"


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("version", [1, 2])
def test_twenty_thousand_damaged_payloads_of_a_version_do_no_harm(version, part):
    if version == 2 and not COMPILES:
        pytest.skip("changes are written with numba (the extra `fast`)")
    result = fuzz(10_000, seed=100 * version + part, version=version)
    assert result["faults"] == []
    assert result["outcomes"]["checksum repaired: refused"] > 2_000
    if version == 1:  # all that a change of version 2 says is held against its table
        assert result["outcomes"]["checksum repaired: a model"] > 50

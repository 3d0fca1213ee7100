"""A slice of the fuzz run of fuzz_codec.py, small enough for every day."""

import pytest
from fuzz_codec import corpus, fuzz, judge


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

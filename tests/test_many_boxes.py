"""Claims about a federation of real SuperNodes that are asked a few at a time."""

import pytest

from experiments.many_boxes import gather
from fedklpr_flwr.runs.rows import read_rows

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_boxes_asked_one_after_the_other_are_all_merged_and_only_the_next_evaluate(tmp_path):
    crowd = gather(3, 0.67, at_once=1, rounds=2, folder=tmp_path)
    assert crowd.is_whole
    assert crowd.merged == (2, 2)
    rows = [row for row in read_rows(tmp_path / "out" / "run.jsonl") if row.client]
    for number, asked in ((0, 2), (2, 3)):
        assert sum(row.rank1 is not None for row in rows if row.round == number) == asked
    assert not any(row.failed for row in rows)
    assert 0 < crowd.supernode_mb < crowd.client_app_mb

"""Claims about the line that says which pictures came since the run before."""

import pytest

from fedklpr_flwr.runs.progress_line import pictures_line
from fedklpr_flwr.runs.rows import Row


def row(client, new, gone, number=0):
    return Row(number, client, pictures_new=new, pictures_gone=gone)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], ""),
        ([row("ash", None, None), Row(0, None)], ""),
        ([row("ash", 0, 0), row("birch", 0, 0)], "of 2 clients: all as they were"),
        ([row("ash", 3, 0), row("birch", 0, 0)], "of 2 clients: ash 3 new, 0 gone"),
        ([row("ash", 3, 1), row("ash", 3, 1, 1)], "of 1 client: ash 3 new, 1 gone"),
    ],
)
def test_each_client_with_other_pictures_is_named_once(rows, said):
    assert pictures_line(rows, set()).endswith(said)


def test_what_was_said_in_a_round_is_not_said_again():
    told = set()
    assert "ash" in pictures_line([row("ash", 3, 1)], told)
    assert told == {"ash"}
    assert pictures_line([row("ash", 3, 1), row("birch", 0, 2)], told).endswith(
        "of 1 client: birch 0 new, 2 gone"
    )

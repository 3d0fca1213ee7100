"""Claims about fedklpr_flwr.system.atomic_file."""

import pytest

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system.atomic_file import write_atomically


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old" * 1000)
    write_atomically(path, memoryview(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content_and_says_why(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises((RunError, TypeError)):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", b"x")

"""Claims about merging more clients than a process may at first hold files open."""

import subprocess
import sys

CODE = """
import resource
import sys
from pathlib import Path
from fedklpr_flwr.errors import MergeError
from fedklpr_flwr.system.open_files import allow_open_files

soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    allow_open_files(100)
except MergeError as error:
    print(error)
else:
    files = [open(Path(sys.executable)) for _ in range(100)]
    print(len(files), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def said_with(soft, hard):
    command = [sys.executable, "-c", CODE, str(soft), str(hard)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_low_limit_is_raised_as_far_as_a_merge_needs():
    assert said_with(64, 1000) == "100 (356, 1000)"
    assert said_with(500, 1000) == "100 (500, 1000)"


def test_a_limit_that_cannot_be_raised_is_told_with_what_to_do():
    assert said_with(64, 300) == (
        "a merge of 100 updates opens as many files, and this process may open 300: "
        "raise its limit to 356 (`ulimit -Hn`, or LimitNOFILE= of a service)"
    )

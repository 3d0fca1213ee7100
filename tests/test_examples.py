"""Claims about examples/: each runs as it stands, and prints what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SMALL = ("federation.rounds=1", "training.max_batches=2", "training.device=cpu")

SAYS = {
    "custom_site.py": r"round 1  south: Rank-1 \d\.\d+  mAP \d\.\d+",
    "new_loss.py": r"(?s)^kl +Rank-1 .*^reverse +Rank-1 \d",
    "new_weight.py": r"(?s)^klpwa +Rank-1 .*^roots +Rank-1 \d.*weights: .*street 0\.\d+",
    "read_a_run.py": r"street +Rank-1 \d.*, weight 0\.\d+, off",
    "search_own_pictures.py": r"(?m)^p\d+_c\d_s\d+\.png: 128 numbers of length 1\.000$",
}


def test_every_example_is_run_here():
    assert sorted(SAYS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs_as_it_stands(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *SMALL],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SAYS[name], done.stdout, re.MULTILINE), done.stdout
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing where it was started"

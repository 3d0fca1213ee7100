"""Claims about fedklpr_flwr.runtime.heap: freed memory stays while training lasts, no longer."""

import subprocess
import sys

import pytest

from fedklpr_flwr.runtime.heap import kept_heap

# In a process of its own: here, what earlier tests freed would be taken again.
SCRIPT = """
import resource
import numpy as np
from fedklpr_flwr.runtime.heap import kept_heap

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6

before = resident_mb()
with kept_heap():
    array = np.ones(64_000_000, np.uint8)
    del array
    inside = resident_mb() - before
print(inside > 50, resident_mb() - before < 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_stays_inside_and_goes_at_the_end():
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert ran.stdout.split() == ["True", "True"], ran.stderr


def test_a_fault_inside_comes_out():
    with pytest.raises(KeyError), kept_heap():
        raise KeyError

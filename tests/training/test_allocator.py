"""Memory that a training frees is kept for its next step, and given back after it."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from sojourn.training.allocator import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8_000_000)  # 64 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

outside = faults()
with kept_memory():
    np.ones(8_000_000)
    inside = faults()
print(outside, inside, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_large_pieces_are_used_again_while_the_block_runs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    outside, inside, after = map(int, done.stdout.split())
    assert inside < outside / 10
    assert after > outside / 2

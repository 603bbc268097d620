import subprocess
import sys

WORK = """
import resource, sys
import torch
from whyserve.explain.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
given = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in range(1, 12):
        x = torch.ones(megabytes << 18)
        y = x + 1
        z = y * x
        del x
        w = z + y
        del y, z, w
    given.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(given[10:]))
"""


def pages_given(how: str) -> int:
    """By the system to ten rounds of the same work, once ten had been done."""
    done = subprocess.run([sys.executable, "-c", WORK, how], capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout)


def test_memory_that_was_freed_is_used_again():
    assert pages_given("kept") < 500
    assert pages_given("as it comes") > 5000

import subprocess
import sys

# By default, glibc takes a block from the system if it is larger than every block that was freed before. The sizes
# therefore increase: the first round then needs new pages on any machine, whatever the imports left on the heap.
PROGRAM = """
import resource
import torch
from whyserve.explain.allocator import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in range(12, 31, 2):
        torch.ones(megabytes << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

by_default = new_pages()
assert keep_freed_memory()
for _ in range(3):  # the heap reaches its final size
    new_pages()
print(by_default, new_pages())
"""


def test_memory_that_was_freed_is_used_again():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    by_default, kept = map(int, done.stdout.split())
    assert by_default > 0
    assert kept < by_default / 10

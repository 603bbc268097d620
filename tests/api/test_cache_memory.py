"""The resident memory of the cache of explanations."""

import subprocess
import sys

import pytest

# Fills the cache with answers of `rows` rows until it drops old ones, and prints its growth in resident memory.
FILL = """
import os, sys
import orjson
from whyserve.api.cache import ExplanationCache

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

rows, features, most = map(int, sys.argv[1:])
numbers = {f"feature_{number}": number / 7 for number in range(features)}
row = {"prediction": {"label": "x", "score": 1 / 3}, "outputs": [{"name": "x", "attributions": numbers}]}
answer = orjson.dumps({"model": "m", "method": "deep", "complete": True, "explanations": [row] * rows})
cache = ExplanationCache(most)
before = resident()
for job in range(3 * most // len(answer)):
    cache.expect(str(job), [os.urandom(32) for _ in range(rows)])
    cache.keep(str(job), answer)
print(resident() - before)
"""
MOST = 16 << 20


@pytest.mark.parametrize("features", [2, 30])
@pytest.mark.parametrize("rows", [1, 64])
def test_a_full_cache_takes_at_most_a_quarter_more_memory_than_its_limit(rows, features):
    command = [sys.executable, "-c", FILL, str(rows), str(features), str(MOST)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0.5 * MOST < grown < 1.25 * MOST

"""The memory of `whyserve explain` does not grow with the number of rows."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.conftest import MODELS, ROOT, rows_of

# The largest resident memory so far, in KiB. `getrusage` would give that of the parent process if it is larger.
PEAK = """
import sys
from pathlib import Path

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
RUN = f"""{PEAK}
from whyserve.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(peak())
"""
READ = f"""{PEAK}
from whyserve.tables.files import Dialect, open_rows
peaks = []
for chunk in open_rows(sys.argv[1], Dialect()).chunks(1024, 0):
    peaks.append(peak())
print(len(peaks), peaks[-1] - peaks[len(peaks) // 4])
"""
# A list of the answers of 180,000 rows would take ten times as much.
GROWTH_KIB = 40 << 10


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "answers"), [("csv", "jsonl"), ("parquet", "csv"), ("parquet", "parquet")])
def test_ten_times_as_many_rows_take_little_more_memory(ending, answers, artifacts, tmp_path):
    peaks = []
    for count in (20_000, 200_000):
        table = pa.Table.from_pylist(rows_of("linear", 20_000))
        table = pa.concat_tables([table] * (count // 20_000)).combine_chunks()
        rows = tmp_path / f"rows{count}.{ending}"
        if ending == "csv":
            pa.csv.write_csv(table, rows)
        else:
            pa.parquet.write_table(table, rows)
        folders = ["--models", MODELS, "--artifacts", artifacts, "--state", tmp_path / "state"]
        done = subprocess.run(
            [sys.executable, "-c", RUN, "explain", "linear", rows, "-o", tmp_path / f"why{count}.{answers}", *folders],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert f"{count} of {count} rows explained" in done.stdout, done.stderr
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] - peaks[0] < GROWTH_KIB, peaks
    print(peaks)


@pytest.mark.parametrize("kind", ["", "file://"], ids=["path", "address"])
def test_what_was_read_of_a_parquet_file_is_not_kept(kind, tmp_path):
    """The file has 64 MB of numbers that cannot be compressed, in row groups of 4 MB."""
    columns = {f"c{number}": np.random.default_rng(number).normal(size=500_000) for number in range(16)}
    pa.parquet.write_table(pa.table(columns), tmp_path / "rows.parquet", row_group_size=1 << 15, use_dictionary=False)
    place = f"{kind}{tmp_path / 'rows.parquet'}"
    done = subprocess.run([sys.executable, "-c", READ, place], cwd=ROOT, capture_output=True, text=True, check=True)
    count, growth = map(int, done.stdout.split())
    assert count == -(-500_000 // 1024)
    assert growth < 16 << 10, f"{growth} KiB"

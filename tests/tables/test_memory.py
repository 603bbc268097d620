"""The memory of `whyserve explain` does not grow with the number of rows."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.conftest import MODELS, ROOT, rows_of

RUN = """
import resource, sys
from whyserve.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
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

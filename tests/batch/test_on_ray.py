"""`whyserve explain --engine ray` on two nodes: the answers of the local command, whatever is killed meanwhile.

The files are in a bucket in one test and in a folder in the other. `make test-ray` makes the environment and runs this.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.conftest import MODELS, ROOT, rows_of
from tests.remote.conftest import BUCKET
from whyserve.remote import file_system

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]
ROWS = 8000
ON_RAY = ["--engine", "ray", "--partition-rows", "1024"]


@pytest.fixture(scope="module")
def environment(bucket):
    """Of all processes. Those of a cluster have the variables with which it was started, such as credentials."""
    # Short, for Ray's sockets have long names; and a home of its own, where Ray keeps the cluster's token.
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        own = {"HOME": home, "RAY_TMPDIR": home, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        yield {**os.environ, **own}


@pytest.fixture(scope="module")
def cluster(environment):
    arguments = [sys.executable, str(ROOT / "tests/batch/ray_cluster.py")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(arguments, env=environment, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("address"):
            assert line, "the cluster has ended"
        environment["RAY_ADDRESS"] = line.split()[1]
        yield process
        process.stdin.close()
        process.wait(60)


@dataclass(frozen=True)
class Command:
    """The command on Ray, without its output. rows: a folder with the table in two files. expected: the lines of the
    local command.
    """

    table: pa.Table
    rows: Path
    options: list[Any]
    expected: pa.Table

    def __call__(self, rows):
        return [sys.executable, "-m", "whyserve.cli", *self.options, rows, *ON_RAY]


def run(command, environment):
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def write(table, path, note):
    pa.parquet.write_table(table.replace_schema_metadata({"note": note}), path, row_group_size=400)


@pytest.fixture(scope="module")
def command(artifacts, tmp_path_factory, environment):
    folder = tmp_path_factory.mktemp("rows")
    table = pa.Table.from_pylist(rows_of("breast_cancer", ROWS))
    faulty = table.column("mean_area").to_pylist()
    faulty[700] = None
    table = table.set_column(table.column_names.index("mean_area"), "mean_area", pa.array(faulty, pa.float32()))
    write(table.slice(0, 1500), folder / "a.parquet", "1")
    write(table.slice(1500), folder / "b.parquet", "1")
    folders = ["--models", MODELS, "--artifacts", artifacts, "--state", folder / "state"]
    options = ["explain", "breast_cancer", "--method", "gradient", *folders]
    local = tmp_path_factory.mktemp("local") / "why.parquet"
    done = run([sys.executable, "-m", "whyserve.cli", *options, folder / "*.parquet", "-o", local], environment)
    assert done.returncode == 3, done.stderr
    expected = pa.parquet.read_table(local)
    assert len(expected) == ROWS
    return Command(table, folder, options, expected)


def parts(place):
    """The files of answers, with what changes if one is written again."""
    system, path = file_system(str(place))
    system.invalidate_cache()
    found = system.find(path, detail=True)
    return {name: facts for name, facts in sorted(found.items()) if "/part-" in name}


def answers(place):
    system, _ = file_system(str(place))
    return pa.concat_tables([pa.parquet.read_table(pa.BufferReader(system.cat_file(name))) for name in parts(place)])


def begin(command, place, environment, wanted):
    """The command, once it has written some files."""
    process = subprocess.Popen(
        [*command, "-o", place], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end = time.monotonic() + 120
    while len(parts(place)) < wanted and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[0]
    return process


def test_an_interrupted_run_on_a_bucket_is_resumed(cluster, command, environment, bucket):
    for name in ("a", "b"):
        bucket.upload_file(str(command.rows / f"{name}.parquet"), f"ray/rows/{name}.parquet")
    rows, place = f"s3://{BUCKET}/ray/rows/*.parquet", f"s3://{BUCKET}/ray/why"
    process = begin(command(rows), place, environment, 2)
    process.kill()
    process.communicate()
    time.sleep(2)  # Ray ends the actors of a driver that is gone.
    before = parts(place)
    assert 2 <= len(before) < 9
    done = run([*command(rows), "-o", place], environment)
    assert done.returncode == 3, done.stderr
    assert f"{ROWS - 1} of {ROWS} rows explained" in done.stdout
    after = parts(place)
    assert len(after) == 9
    assert {name: after[name] for name in before} == before
    assert answers(place).equals(command.expected)
    # Other content of the same size.
    write(command.table.slice(0, 1500), command.rows / "a.parquet", "2")
    bucket.upload_file(str(command.rows / "a.parquet"), "ray/rows/a.parquet")
    refused = run([*command(rows), "-o", place], environment)
    assert refused.returncode == 1
    assert f"{place}: has files of another run" in refused.stderr


def test_the_answers_do_not_change_if_a_node_is_killed(cluster, command, environment, tmp_path):
    process = begin(command(command.rows / "*.parquet"), tmp_path, environment, 2)
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    while not (line := cluster.stdout.readline()).startswith("killed"):
        assert line, "the cluster has ended"
    assert process.poll() is None, "the run ended before the node was killed"
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 3, said
    assert 'a.parquet: row 701, column "mean_area": is empty' in said
    assert answers(tmp_path).equals(command.expected)
    assert answers(tmp_path)["error"][700].as_py().startswith("row 701")

"""`whyserve explain --engine ray` on two nodes: the answers of the local command, whatever is killed meanwhile.

Ray has an environment of its own, which `make test-ray` makes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.conftest import MODELS, ROOT, rows_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]
PYTHON = Path(os.environ.get("WHYSERVE_RAY_PYTHON", ROOT / ".venv-ray" / "bin" / "python"))
PARTITION, ROWS = 1024, 8000


@pytest.fixture(scope="module")
def environment():
    assert PYTHON.exists(), "make .venv-ray/.installed makes Ray's environment"
    # Short, for Ray's sockets have long names; and a home of its own, where Ray keeps the cluster's token.
    with tempfile.TemporaryDirectory(prefix="ray") as home:
        own = {"HOME": home, "RAY_TMPDIR": home, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        yield {**os.environ, **own}


@pytest.fixture(scope="module")
def cluster(environment):
    arguments = [PYTHON, ROOT / "tests/batch/ray_cluster.py"]
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


@pytest.fixture(scope="module")
def command(artifacts, tmp_path_factory, environment):
    """The command without its output and engine, and the lines that it writes locally."""
    folder = tmp_path_factory.mktemp("rows")
    table = pa.Table.from_pylist(rows_of("breast_cancer", ROWS))
    faulty = table.column("mean_area").to_pylist()
    faulty[700] = None
    table = table.set_column(table.column_names.index("mean_area"), "mean_area", pa.array(faulty, pa.float32()))
    pa.parquet.write_table(table.slice(0, 1500), folder / "a.parquet", row_group_size=400)
    pa.parquet.write_table(table.slice(1500), folder / "b.parquet")
    folders = ["--models", MODELS, "--artifacts", artifacts, "--state", folder / "state"]
    given = ["explain", "breast_cancer", folder / "*.parquet", "--method", "gradient", *folders]
    local = [sys.executable, "-m", "whyserve.cli", *given, "-o", folder / "local.parquet"]
    done = subprocess.run(local, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    (folder / "local.parquet").rename(folder / "local.answers")
    expected = pa.parquet.read_table(folder / "local.answers")
    assert len(expected) == ROWS
    return [PYTHON, "-m", "whyserve.cli", *given, "--engine", "ray", "--partition-rows", str(PARTITION)], expected


def parts(folder):
    return sorted(folder.glob("part-*.parquet"))


def answers(folder):
    return pa.concat_tables([pa.parquet.read_table(path) for path in parts(folder)])


def begin(command, folder, environment, wanted):
    """The command, once it has written some files."""
    process = subprocess.Popen(
        [*command, "-o", folder], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end = time.monotonic() + 120
    while len(parts(folder)) < wanted and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[0]
    return process


def test_an_interrupted_run_is_resumed(cluster, command, environment, tmp_path):
    command, expected = command
    process = begin(command, tmp_path, environment, 2)
    process.kill()
    process.communicate()
    time.sleep(2)  # Ray ends the actors of a driver that is gone.
    before = {path: path.stat().st_mtime_ns for path in parts(tmp_path)}
    assert 2 <= len(before) < 10
    done = subprocess.run(
        [*command, "-o", tmp_path], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert f"{ROWS - 1} of {ROWS} rows explained" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert answers(tmp_path).equals(expected)
    other = [*command, "-o", tmp_path, "--seed", "1"]
    refused = subprocess.run(other, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "has files of another run" in refused.stderr


def test_the_answers_do_not_change_if_a_node_is_killed(cluster, command, environment, tmp_path):
    command, expected = command
    process = begin(command, tmp_path, environment, 2)
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    while not (line := cluster.stdout.readline()).startswith("killed"):
        assert line, "the cluster has ended"
    assert process.poll() is None, "the run ended before the node was killed"
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 3, said
    assert 'a.parquet: row 701, column "mean_area": is empty' in said
    assert answers(tmp_path).equals(expected)
    assert answers(tmp_path)["error"][700].as_py().startswith("row 701")

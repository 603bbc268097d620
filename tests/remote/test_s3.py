"""Models and rows in a bucket, on a server of S3 over HTTP. `make test-s3` makes the environment and runs this."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save

from tests.conftest import ROOT, Running
from tests.export.folders import torch_folder
from tests.remote.conftest import BUCKET
from whyserve.batch.on_ray import _prepare
from whyserve.errors import ConfigurationError
from whyserve.explain.models.explainable import load_model
from whyserve.model.builds import read_original
from whyserve.model.manifest import read_manifest
from whyserve.remote import fetch, local_folder
from whyserve.tables.answers import check_output
from whyserve.tables.explain import Question, explain_files

pytestmark = [pytest.mark.s3, pytest.mark.timeout(200)]
ASK = {"model": "small", "instances": [{"a": 1.0, "b": 2.0}]}
DENIED = "access denied; check the credentials"


def run(*arguments, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WHYSERVE_")}
    return subprocess.run(
        [sys.executable, "-m", "whyserve.cli", *map(str, arguments)],
        cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def folders(tmp_path):
    return [f"--artifacts={tmp_path / 'artifacts'}", f"--state={tmp_path / 'state'}"]


def weights(bucket, key, seed):
    """Upload new weights of the network of `torch_folder`."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(2, 2)
    content = {"layer.weight": layer.weight.data, "layer.bias": layer.bias.data}
    bucket.put_object(Key=key, Body=save(content))


@pytest.fixture(scope="module")
def service(bucket, tmp_path_factory):
    """`whyserve up` on the models of a bucket."""
    root = tmp_path_factory.mktemp("service")
    for path in torch_folder(root / "models", "small").iterdir():
        bucket.upload_file(str(path), f"served/small/{path.name}")
    running = Running(["up", "--port=0", *folders(root)], {"WHYSERVE_MODELS": f"s3://{BUCKET}/served"})
    running.await_line(r"ready on ")
    yield running, root
    assert running.stop() == 0, running.output


def test_models_of_a_bucket_are_served_and_refreshed_by_load(service, bucket):
    running, root = service
    with running.client() as client:
        first = client.post("/predict", json=ASK).json()["predictions"]
        weights(bucket, "served/small/weights.safetensors", 7)
        assert client.post("/predict", json=ASK).json()["predictions"] == first
        assert client.post("/v2/repository/models/small/load").status_code == 200
        second = client.post("/predict", json=ASK).json()["predictions"]
        (explained,) = client.post("/explain", json=ASK).json()["explanations"]
        assert [explained["prediction"]] == second != first
        assert all(abs(output["residual"]) < 1e-5 for output in explained["outputs"])

        bucket.put_object(Key="served/small/weights.safetensors", Body=b"no weights")
        refused = client.post("/v2/repository/models/small/load")
        assert refused.status_code == 400
        assert "small/weights.safetensors: " in refused.text
        assert "the previous build is still served" in refused.text
        assert client.post("/predict", json=ASK).json()["predictions"] == second
        weights(bucket, "served/small/weights.safetensors", 7)

        missing = client.post("/v2/repository/models/nope/load")
        assert missing.status_code == 400
        assert f"s3://{BUCKET}/served: no folder nope holds a model.toml" in missing.text
    build = (root / "artifacts" / "small").resolve()
    manifest, _ = read_manifest(build)
    content = bucket.Object("served/small/weights.safetensors").get()["Body"].read()
    assert read_original(root, build, "weights.safetensors", manifest) == content


def test_rows_of_a_bucket_are_explained_into_it(service, bucket, tmp_path):
    _, root = service
    values = np.random.default_rng(1).normal(size=(3000, 2)).astype(np.float32)
    table = pa.table({"a": values[:, 0], "b": values[:, 1]})
    pa.parquet.write_table(table.slice(0, 1000), tmp_path / "rows-0.parquet", row_group_size=300)
    pa.parquet.write_table(table.slice(1000), tmp_path / "rows-1.parquet", row_group_size=700)
    for path in sorted(tmp_path.glob("rows-*")):
        bucket.upload_file(str(path), f"rows/{path.name}")
    model = load_model(root / "models", root / "artifacts" / "small", 64 << 20)
    rows, answers = sorted(tmp_path.glob("rows-*")), tmp_path / "why.parquet"
    explain_files(model, rows, answers, Question(), on_progress=lambda *_: None)
    address = f"s3://{BUCKET}/rows/why.parquet"
    done = run("explain", "small", *folders(root), f"s3://{BUCKET}/rows/rows-*.parquet", "-o", address)
    assert done.returncode == 0, done.stderr
    bucket.download_file("rows/why.parquet", str(tmp_path / "found"))
    assert pa.parquet.read_table(tmp_path / "found").equals(pa.parquet.read_table(answers))
    with pytest.raises(ConfigurationError, match=f"{address}: the file exists; add --force to replace it"):
        check_output(address, [], force=False)


@pytest.mark.parametrize("key", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_named(key, service, tmp_path):
    done = run("export", f"--models=s3://{BUCKET}/served", *folders(tmp_path), **{key: "wrong"})
    assert done.returncode == 1
    assert done.stderr == f"whyserve export: s3://{BUCKET}/served: {DENIED}\n"
    assert not (tmp_path / "artifacts").exists()


def test_wrong_credentials_for_rows_are_named(service, tmp_path):
    rows = f"s3://{BUCKET}/rows/rows-0.parquet"
    given = ["explain", "small", *folders(service[1]), rows, "-o", tmp_path / "why.csv"]
    done = run(*given, AWS_SECRET_ACCESS_KEY="wrong")
    assert done.returncode == 1
    assert f"{rows}: {DENIED}" in done.stderr
    assert not (tmp_path / "why.csv").exists()


def test_no_credentials_are_named(tmp_path, bucket):
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    done = run("export", f"--models=s3://{BUCKET}/served", *folders(tmp_path), **none, HOME=str(tmp_path))
    assert done.returncode == 1
    assert f"whyserve export: s3://{BUCKET}/served: " in done.stderr
    assert "credentials" in done.stderr.splitlines()[-1]


def test_a_missing_bucket_and_an_empty_folder_are_named(tmp_path, bucket):
    for address, words in (("s3://nowhere/models", "not found"), (f"s3://{BUCKET}/nothing", "no folder in it holds")):
        done = run("export", f"--models={address}", *folders(tmp_path))
        assert done.returncode == 1
        assert done.stderr.startswith(f"whyserve export: {address}: {words}")


def test_a_missing_bucket_for_answers_is_named_and_not_made(tmp_path, bucket):
    with pytest.raises(ConfigurationError, match=r"s3://nowhere/why.*: not found"):
        _prepare("s3://nowhere/why", {}, force=False)
    assert [each["Name"] for each in bucket.meta.client.list_buckets()["Buckets"]] == [BUCKET]


def test_a_broken_download_leaves_the_copy_as_it_was(bucket, cable, tmp_path, upload):
    folder = torch_folder(tmp_path / "models", "small")
    upload(tmp_path / "models", "broken")
    copy = local_folder(f"s3://{BUCKET}/broken", tmp_path / "state")
    fetch(copy)
    before = (copy / "small").resolve()
    (folder / "large.bin").write_bytes(os.urandom(1 << 20))
    (folder / "network.py").write_text("# another network")
    upload(tmp_path / "models", "broken")
    cable.left = 300_000
    try:
        with pytest.raises(ConfigurationError, match=f"s3://{BUCKET}/broken: "):
            fetch(copy)
    finally:
        cable.left = None
    assert (copy / "small").resolve() == before
    assert "another" not in (copy / "small" / "network.py").read_text()
    assert not list(copy.glob(".part-*"))
    fetch(copy)
    assert (copy / "small" / "large.bin").read_bytes() == (folder / "large.bin").read_bytes()


def test_a_copy_is_not_downloaded_again(bucket, cable, tmp_path, upload):
    torch_folder(tmp_path / "models", "small")
    (tmp_path / "models" / "small" / "large.bin").write_bytes(os.urandom(1 << 20))
    upload(tmp_path / "models", "kept")
    copy = local_folder(f"s3://{BUCKET}/kept", tmp_path / "state")
    fetch(copy)
    cable.left = 300_000
    try:
        fetch(copy)
        assert cable.left > 0
    finally:
        cable.left = None

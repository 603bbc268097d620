"""Models are packaged into a bucket, on a server of S3 over HTTP, while others read it."""

import shutil
import threading

import numpy as np
import pytest

from tests.export.folders import torch_folder
from tests.export.package.test_onnx import relu
from tests.remote.conftest import BUCKET
from whyserve.errors import ConfigurationError, ModelFault
from whyserve.export.package.package import package
from whyserve.export.package.upload import uploaded
from whyserve.model.spec import read_spec
from whyserve.remote import fetch, local_folder

pytestmark = [pytest.mark.s3, pytest.mark.timeout(200)]


def etags(bucket, prefix):
    return {each.key.removeprefix(prefix): each.e_tag for each in bucket.objects.filter(Prefix=prefix)}


def test_a_network_of_a_bucket_is_packaged_into_it(bucket, tmp_path):
    rows = np.random.default_rng(2).normal(size=(20, 3)).astype(np.float32)
    bucket.put_object(Key="networks/small.onnx", Body=relu().SerializeToString())
    network, address = f"s3://{BUCKET}/networks/small.onnx", f"s3://{BUCKET}/packaged/small"
    made = package(network, address, background=rows, names=["low", "middle", "high"], artifacts=tmp_path / "artifacts")
    assert made.folder == address
    assert f"in {address}\n" in repr(made)
    files = {"background.npz", "example.json", "model.onnx", "model.toml"}
    assert set(etags(bucket, "packaged/small/")) == files
    copy = local_folder(f"s3://{BUCKET}/packaged", tmp_path / "state")
    fetch(copy)
    assert read_spec(copy / "small").output_names == ("low", "middle", "high")
    assert {path.name for path in (copy / "small").iterdir()} == files

    with pytest.raises(ModelFault, match=r"^small: the folder holds a model with other outputs; choose"):
        package(network, address, background=rows, names=["a", "b", "c"], artifacts=tmp_path / "artifacts")
    with pytest.raises(ConfigurationError, match=r"networks/none\.onnx: not found"):
        package(network.replace("small", "none"), address, background=rows, names=["low", "middle", "high"])
    assert not (tmp_path / "s3:").exists()


def upload(address, folder):
    with uploaded(address) as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)


def test_a_reader_sees_the_old_files_or_the_new_ones(bucket, tmp_path):
    """A listing with a model.toml has all files of one version, at every moment of a replacement."""
    address, prefix = f"s3://{BUCKET}/replaced/small", "replaced/small/"
    folders = [torch_folder(tmp_path / name, "small", f"return self.layer(x) * {name}") for name in ("1", "2")]
    for number, folder in enumerate(folders):
        for name in ("model.toml", "background.npz", "weights.safetensors", "example.json"):
            with (folder / name).open("ab") as file:
                file.write(b"\n" * number)
    (folders[0] / "tokenizer.json").write_text("{}")
    upload(address, folders[0])
    old = etags(bucket, prefix)
    assert set(old) == {path.name for path in folders[0].iterdir()}
    seen: list[dict[str, str]] = []
    end = threading.Event()

    def watch():
        while not end.is_set():
            seen.append({name: tag for name, tag in etags(bucket, prefix).items() if not name.startswith(".")})

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        upload(address, folders[1])
        new = etags(bucket, prefix)
        for number in range(20):  # until a listing falls into a replacement
            if not all("model.toml" in each for each in seen):
                break
            upload(address, folders[number % 2])
    finally:
        end.set()
        watcher.join()
    assert set(new) == {path.name for path in folders[1].iterdir()}
    assert all(old[name] != tag for name, tag in new.items())
    complete = [each for each in seen if "model.toml" in each]
    assert all(each in (old, new) for each in complete)
    assert old in complete
    assert len(complete) < len(seen), "no listing fell into a replacement"


def test_a_broken_upload_leaves_the_old_files(bucket, cable, tmp_path):
    address, prefix = f"s3://{BUCKET}/unbroken/small", "unbroken/small/"
    folder = torch_folder(tmp_path, "small")
    upload(address, folder)
    before = etags(bucket, prefix)
    (folder / "network.py").write_text("# another network")
    with pytest.raises(ConfigurationError, match=f"^{address}: "), uploaded(address) as copy:  # noqa: PT012
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        cable.left = 1500  # bytes of answers, which are a few hundred for each file
    assert cable.left < 0
    cable.left = None
    assert etags(bucket, prefix) == before
    upload(address, folder)
    assert etags(bucket, prefix)["network.py"] != before["network.py"]

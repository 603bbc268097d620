"""hf://… with huggingface_hub, on an HTTP server of this file that has the six calls of the Hub that it makes.

It shows that addresses, listings, commits and credentials of the package fit ours. It is not the Hub: it has no large
files (LFS, Xet), limits or revisions.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.conftest import ROOT
from tests.export.folders import torch_folder
from whyserve.remote import local_folder

TOKEN, REPOSITORY = "hf_right", "/owner/repository"
ADDRESS = "hf://owner/repository/models"


class Hub(BaseHTTPRequestHandler):
    folder: Path
    downloads: list[str]
    commits: list[list[Any]]

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, b"{}", "RepoNotFound")
        elif path == f"/api/models{REPOSITORY}":
            self.answer(200, json.dumps({"id": REPOSITORY[1:], "sha": "0" * 40}).encode())
        elif path.startswith(start := f"/api/models{REPOSITORY}/tree/main/"):
            root = self.folder / path.removeprefix(start)
            found = [self.entry(each) for each in sorted(root.rglob("*")) if each.is_file()]
            self.answer(*((200, json.dumps(found).encode(), "") if found else (404, b"{}", "EntryNotFound")))
        elif path.startswith(start := f"{REPOSITORY}/resolve/main/"):
            self.downloads.append(path.removeprefix(start))
            self.answer(200, (self.folder / path.removeprefix(start)).read_bytes())
        else:
            self.answer(404, b"{}", "RepoNotFound")

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        call = self.path.removeprefix(f"/api/models{REPOSITORY}")
        if call == "/preupload/main":
            files = [{**each, "uploadMode": "regular", "shouldIgnore": False} for each in json.loads(asked)["files"]]
            self.answer(200, json.dumps({"files": files}).encode())
        elif call == "/commit/main":
            self.commits.append([json.loads(line) for line in asked.splitlines()])
            for change in self.commits[-1]:
                path = self.folder / change["value"].get("path", "")
                if change["key"] == "file":
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(base64.b64decode(change["value"]["content"]))
                elif change["key"] == "deletedFile":
                    path.unlink()
            self.answer(200, json.dumps({"commitUrl": f"{REPOSITORY}/commit/1", "commitOid": "1" * 40}).encode())
        else:
            self.answer_paths(asked)

    def answer_paths(self, asked: str) -> None:
        found = [each for each in self.folder.rglob("*") if str(each.relative_to(self.folder)) in asked]
        self.answer(200, json.dumps([self.entry(each) for each in found if each.is_file()]).encode())

    def entry(self, path: Path) -> dict[str, object]:
        content = path.read_bytes()
        oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return {"type": "file", "oid": oid, "size": len(content), "path": str(path.relative_to(self.folder))}

    def answer(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path):
    torch_folder(tmp_path / "hub" / "models", "small")
    kind = type("OneHub", (Hub,), {"folder": tmp_path / "hub", "downloads": [], "commits": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


FETCH = "import sys; from pathlib import Path; from whyserve.remote import fetch; fetch(Path(sys.argv[1]))"
UPLOAD = """
import shutil, sys
from whyserve.export.package.upload import uploaded
with uploaded(sys.argv[1]) as copy:
    shutil.copytree(sys.argv[2], copy, dirs_exist_ok=True)
"""


def run(root, code, *arguments, endpoint, token=TOKEN):
    """Run code in a process whose Hub is the endpoint: the package reads its variables once."""
    own = {"HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HOME": str(root / "home"), "NO_PROXY": "*"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def fetch(root, address, endpoint, token=TOKEN):
    folder = local_folder(address, root / "state")
    return folder, run(root, FETCH, folder, endpoint=endpoint, token=token)


def test_models_of_the_hub_are_copied_and_only_changes_downloaded_again(hub, tmp_path):
    kind, endpoint = hub
    folder, done = fetch(tmp_path, ADDRESS, endpoint)
    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_bytes() for path in (tmp_path / "hub" / "models" / "small").iterdir()}
    assert {path.name: path.read_bytes() for path in (folder / "small").iterdir()} == files
    assert len(kind.downloads) == len(files)
    fetch(tmp_path, ADDRESS, endpoint)
    assert len(kind.downloads) == len(files)
    (tmp_path / "hub" / "models" / "small" / "network.py").write_text("# another network")
    fetch(tmp_path, ADDRESS, endpoint)
    assert (folder / "small" / "network.py").read_text() == "# another network"


@pytest.mark.parametrize(
    ("address", "token"), [(ADDRESS, "hf_wrong"), ("hf://owner/nothing/models", TOKEN)], ids=["token", "repository"]
)
def test_a_repository_that_cannot_be_read_is_named(address, token, hub, tmp_path):
    folder, done = fetch(tmp_path, address, hub[1], token)
    assert done.returncode == 1
    assert f"ConfigurationError: {address}: not found" in done.stderr
    assert not (folder / "small").exists()


def test_a_model_is_uploaded_as_one_commit(hub, tmp_path):
    kind, endpoint = hub
    folder = torch_folder(tmp_path / "new", "small")
    (folder / "network.py").write_text("# another network")
    (kind.folder / "models" / "small" / "tokenizer.json").write_text("{}")
    done = run(tmp_path, UPLOAD, f"{ADDRESS}/small", folder, endpoint=endpoint)
    assert done.returncode == 0, done.stderr
    assert len(kind.commits) == 1
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (kind.folder / "models" / "small").iterdir()} == files
    done = run(tmp_path, UPLOAD, f"{ADDRESS}/small", folder, endpoint=endpoint, token="hf_wrong")
    assert done.returncode == 1
    assert f"ConfigurationError: {ADDRESS}/small: " in done.stderr
    assert len(kind.commits) == 1

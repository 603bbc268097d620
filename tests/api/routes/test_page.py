"""The page's files are up to date, small, and served with a strict policy."""

import gzip
import hashlib
import json
import re

import httpx
import pytest

from tests.conftest import ROOT
from whyserve.api.routes.page import STATIC

UI = ROOT / "ui"
# Installed or generated files, which are not part of the build.
GENERATED = {"node_modules", "openapi.json", "document.d.ts", "__pycache__"}
MOST_BYTES = 150_000


def test_the_page_was_built_from_these_sources():
    listed = json.loads((STATIC / "sources.json").read_text())
    there = {
        path.relative_to(UI).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in UI.rglob("*")
        if path.is_file() and not GENERATED & set(path.parts)
    }
    assert listed == there, "run `make ui`"


def linked(text):
    return re.findall(r'(?:src|href)="[.](/assets/[^"]+)"', text)


@pytest.mark.parametrize("path", ["/", "/help"])
def test_cache_headers_of_the_page(path, client):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    links = linked(answer.text)
    assert links
    for link in links:
        asset = client.get(link)
        assert asset.status_code == 200
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["x-content-type-options"] == "nosniff"


def test_the_page_is_smaller_than_150_kb_compressed(client):
    files = ["/", "/help", *linked(client.get("/").text), *linked(client.get("/help").text)]
    sizes = {path: len(gzip.compress(client.get(path).content, 9)) for path in files}
    assert sum(sizes.values()) < MOST_BYTES
    for path in files:
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert len(b"".join(answer.iter_raw())) == sizes[path]
        assert "content-encoding" not in client.get(path, headers={"Accept-Encoding": "identity"}).headers


def test_only_built_files_are_served_without_inline_code(client: httpx.Client):
    assert client.get("/sources.json").status_code == 404
    assert client.get("/assets/../page.py").status_code == 404
    assert client.get("/assets/none.js").status_code == 404
    assert client.post("/").status_code == 405
    for path in ("/", "/help"):
        text = client.get(path).text
        assert "<style" not in text
        assert 'style="' not in text
        assert "://" not in text

"""Behind nginx: early refusals reach the caller, and addresses have the prefix. The end of connections at a stop."""

import shutil
import socket
import subprocess
import time

import httpx
import pytest

from tests.conftest import example

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
# nginx reads a whole body before it sends it on, as it does by default.
CONFIGURATION = """
user root; daemon off; pid {0}/pid; error_log {0}/log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {0}/b; proxy_temp_path {0}/p;
  fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
  server {{
    listen 127.0.0.1:{1};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Prefix $prefix;
    location /new/stripped/ {{ set $prefix /new/stripped; proxy_pass http://127.0.0.1:{2}/; }}
    location / {{ set $prefix ""; proxy_pass http://127.0.0.1:{2}; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def front(start_api, tmp_path_factory):
    """A client of nginx in front of an API."""
    if NGINX is None:
        pytest.skip("no nginx on this machine")
    api = start_api("--root-path", "/own", "--max-body-mb", "2", "--trusted-proxies", "127.0.0.1")
    folder = tmp_path_factory.mktemp("nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder, port, api.port))
    process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "log"])
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.05)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def test_a_refusal_reaches_the_caller_behind_a_buffering_proxy(front):
    assert [front.post("/predict", content=bytes(24 << 20)).status_code for _ in range(5)] == [413] * 5
    assert front.post("/predict", json=example("linear")).status_code == 200


@pytest.mark.parametrize("prefix", ["/new/stripped", "/own"])
def test_addresses_have_the_prefix_whether_or_not_the_proxy_removes_it(prefix, front):
    assert front.post(f"{prefix}/predict", json=example("linear")).status_code == 200
    answer = front.post(f"{prefix}/explain", json=example("linear"), headers={"Prefer": "respond-async"})
    assert answer.headers["location"].startswith(f"{prefix}/explanations/")
    assert front.get(answer.headers["location"]).status_code == 200
    assert front.get(f"{prefix}/openapi.json").json()["servers"][0] == {"url": prefix}
    page = front.get(f"{prefix}/docs").text
    for address in (f"{prefix}/openapi.json", f"{prefix}/docs-assets/swagger-ui-bundle.js"):
        assert address in page
        assert front.get(address).status_code == 200
    redirect = front.get(f"{prefix}/models/", follow_redirects=False).headers["location"]
    assert redirect == f"https://{front.base_url.netloc.decode()}{prefix}/models"
    # An error has the form of its protocol, below a prefix too.
    assert front.get(f"{prefix}/v2/nowhere").json().keys() == {"error"}


def test_answers_after_sigterm_end_their_connection(start_api):
    api = start_api("--shutdown-delay-s", "3")
    with api.client() as client:
        assert client.post("/predict", json=example("linear")).headers.get("connection") != "close"
        api.process.terminate()
        end = time.monotonic() + 2
        while client.get("/health/ready").status_code == 200:
            assert time.monotonic() < end
        answer = client.post("/predict", json=example("linear"))
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")

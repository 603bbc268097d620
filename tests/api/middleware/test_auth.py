"""Keys, scopes and limits on running services. No key is ever logged."""

import asyncio
import os
import time

import httpx
import pytest

from tests.conftest import Running, example, start_service
from whyserve.api.app import create_api
from whyserve.api.middleware import auth
from whyserve.api.middleware.auth import required_scope
from whyserve.api.middleware.keys import fresh
from whyserve.api.state import Service
from whyserve.errors import Unauthorized
from whyserve.predict.catalog import load_catalog
from whyserve.queues.factory import open_queue, open_source
from whyserve.settings import ApiSettings

KEYS = {name: fresh(name, scopes.split(",")) for name, scopes in (
    ("predictor", "predict"), ("explainer", "explain"), ("other", "explain"), ("boss", "admin"),
)}  # fmt: skip
LINES = "\n".join(line for _, line in KEYS.values())


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name][0]}"}


@pytest.fixture(scope="module")
def guarded(light, tmp_path_factory):
    """A service with keys that logs everything."""
    (models, artifacts), state = light, tmp_path_factory.mktemp("state")
    keys = LINES.replace("\n", ";")
    service = start_service(artifacts, state, "--log-level", "debug", models=models, WHYSERVE_KEYS=keys)
    service.await_line("ready on ")
    yield service
    assert service.stop() == 0, service.output


@pytest.fixture(scope="module")
def asker(guarded):
    with guarded.client() as client:
        yield client


ADDRESSES = {
    # address: (verb, the scope that it needs)
    "/predict": ("POST", "predict"),
    "/v2/models/fclayer/infer": ("POST", "predict"),
    "/v1/models/fclayer:predict": ("POST", "predict"),
    "/explain": ("POST", "explain"),
    "/counterfactual": ("POST", "explain"),
    "/v2/models/fclayer/explain": ("POST", "explain"),
    "/v1/models/fclayer:explain": ("POST", "explain"),
    "/explanations/0123": ("GET", "explain"),
    "/explanations/0123/events": ("GET", "explain"),
    "/metrics": ("GET", "admin"),
    "/v2/models/stats": ("GET", "admin"),
    "/v2/repository/index": ("POST", "admin"),
    "/v2/models/fclayer/versions/1/stats": ("GET", "admin"),
    "/v2/repository/models/none/load": ("POST", "admin"),
    "/v2/repository/models/none/unload": ("POST", "admin"),
    "/v2/repository/models/fclayer/versions/9/unload": ("POST", "admin"),
    "/an/address/of/tomorrow": ("POST", "admin"),
    "/predict/": ("POST", "admin"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_each_path_needs_its_scope(address, asker):
    verb, scope = ADDRESSES[address]
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}, {"X-API-Key": ""}):
        answer = asker.request(verb, address, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert set(answer.json()) == {"error"} if address.startswith("/v") else answer.json()["code"] == "unauthorized"
    for name, has in (("predictor", "predict"), ("explainer", "explain"), ("boss", "admin")):
        answer = asker.request(verb, address, headers=bearer(name))
        assert (answer.status_code == 403) == (has != scope), answer.text
        assert answer.status_code != 401


@pytest.mark.parametrize(
    "address", ["/models", "/models/fclayer", "/openapi.json", "/docs", "/v2", "/v2/models/fclayer"]
)
def test_any_key_may_read_metadata(address, asker):
    assert asker.get(address).status_code == 401
    for name in KEYS:
        assert asker.get(address, headers={"X-API-Key": KEYS[name][0]}).status_code == 200


@pytest.mark.parametrize("address", ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"])
def test_health_is_open(address, asker):
    assert asker.get(address).status_code == 200


def test_only_the_owner_can_read_a_job(asker):
    accepted = asker.post(
        "/explain", json=example("fclayer"), headers={**bearer("explainer"), "Prefer": "respond-async"}
    )
    assert accepted.status_code == 202
    address = accepted.headers["location"]
    for verb, place in (("GET", address), ("DELETE", address), ("GET", f"{address}/events")):
        assert asker.request(verb, place, headers=bearer("other")).status_code == 404
    assert asker.get(address, headers=bearer("explainer")).status_code == 200


def test_callers_do_not_share_cached_answers(asker):
    """Caches and idempotency keys are separate for each caller, so that times reveal nothing."""
    body = {**example("fclayer"), "seed": 11}
    headers = {"Idempotency-Key": "the-same"}
    mine = asker.post("/explain", json=body, headers={**bearer("explainer"), **headers})
    assert mine.headers["x-cache"] == "miss"
    theirs = asker.post("/explain", json=body, headers={**bearer("other"), **headers})
    assert theirs.headers["x-cache"] == "miss"
    assert theirs.json()["id"] != mine.json()["id"]


def test_no_key_is_ever_logged(guarded, asker):
    secret = KEYS["predictor"][0]
    asker.post("/predict", json=example("fclayer"), headers=bearer("predictor"))
    asker.post(f"/predict?api_key={secret}", json=example("fclayer"), headers={"X-API-Key": secret})
    asker.post("/predict", content=b"{", headers={"X-API-Key": secret})
    assert asker.get(f"/models?api_key={secret}").status_code == 401
    asker.get(f"/{secret}", headers={"X-API-Key": secret})
    assert any('"route": "/predict"' in line for line in guarded.lines)
    assert not any(key in guarded.output for key, _ in KEYS.values())


def test_exactly_these_paths_need_admin(artifacts, tmp_path):
    """A path without a rule needs admin. These need it on purpose."""
    settings = ApiSettings(artifacts=artifacts, state=tmp_path)
    service = Service(settings, load_catalog(artifacts, 1), open_queue(settings), lambda: open_source(settings, "w1"))
    paths = {
        path
        for path in _paths(create_api(service))
        if required_scope(path.replace("{", "").replace("}", "")) == "admin"
    }
    asyncio.run(service.queue.close())
    assert {path for path in paths if not path.startswith("/v2/repository/")} <= {
        "/metrics", "/v2/models/stats", "/v2/models/{model}/stats", "/v2/models/{model}/versions/{version}/stats",
    }  # fmt: skip


def _paths(app) -> set[str]:
    return {path for route in app.routes if (path := getattr(route, "path", None))}


def test_keys_are_rotated_without_a_restart(start_api, tmp_path):
    file = tmp_path / "keys"
    old, new = fresh("ci", ["predict"]), fresh("ci", ["predict"])
    file.write_text(old[1])
    api = start_api("--keys-file", str(file))

    def status(key: tuple[str, str]) -> int:
        return httpx.post(
            f"{api.address}/predict", json=example("linear"), headers={"X-API-Key": key[0]}, trust_env=False
        ).status_code

    def becomes(key: tuple[str, str], wanted: int) -> None:
        end = time.monotonic() + 20
        while status(key) != wanted:
            assert time.monotonic() < end, api.output
            time.sleep(0.1)

    assert (status(old), status(new)) == (200, 401)
    file.write_text(f"{old[1]}\n{new[1]}\n")
    becomes(new, 200)
    assert status(old) == 200
    broken = tmp_path / "broken"
    broken.write_text("nonsense")
    os.replace(broken, file)
    end = time.monotonic() + 20
    while "prints such a line; the previous keys stay in use" not in api.output:
        assert time.monotonic() < end, api.output
        assert status(new) == 200
        time.sleep(0.1)
    file.write_text(new[1])
    becomes(old, 401)
    assert status(new) == 200


def test_a_half_written_key_file_changes_nothing_until_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(auth, "CHECK_S", 0.5)
    made = [fresh(f"k{number}", ["predict"]) for number in range(4)]
    lines = [f"{line}\n" for _, line in made]
    file = tmp_path / "keys"
    file.write_text("".join(lines))
    guard = auth.Authentication(None, file)

    def works(number: int) -> bool:
        try:
            return guard.caller("/predict", {b"x-api-key": made[number][0].encode()}) is not None
        except Unauthorized:
            return False

    with file.open("w") as slow:
        for part in (*lines[:2], lines[2][:30], lines[2][30:]):
            slow.write(part)
            slow.flush()
            for _ in range(3):
                assert all(works(number) for number in range(4))
                time.sleep(0.01)
    end = time.monotonic() + 10
    while works(3):
        assert time.monotonic() < end
        time.sleep(0.03)
    assert all(works(number) for number in range(3))


def test_the_request_limit_says_when_to_retry(start_api):
    api = start_api("--max-requests-s", "5", WHYSERVE_KEYS=LINES.replace("\n", ";"))
    with httpx.Client(base_url=api.address, trust_env=False) as client:

        def ask(name: str) -> httpx.Response:
            return client.post("/predict", json=example("linear"), headers=bearer(name))

        answers = [ask("predictor") for _ in range(60)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["code"] == "rate_limited"
        assert int(refused[0].headers["retry-after"]) == 1
        # The limit is per key, and does not cover health checks.
        assert client.get("/models", headers=bearer("other")).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_the_explanation_limit_counts_cost(start_api):
    api = start_api("--max-explain-cost-s", "1")
    with httpx.Client(base_url=api.address, trust_env=False) as client:
        headers = {"Prefer": "respond-async"}
        assert client.post("/explain", json=example("linear"), headers=headers).status_code == 202
        rows = {"instances": example("linear")["instances"]}
        for address, body in (("/explain", example("linear")), ("/v1/models/linear:explain", rows)):
            refused = client.post(address, json=body, headers=headers)
            assert refused.status_code == 429, refused.text
            assert int(refused.headers["retry-after"]) > 1
        assert client.post("/predict", json=example("linear")).status_code == 200


def test_cost_grows_with_the_rows_of_the_background(start_api):
    api = start_api("--max-explain-cost-s", "1")
    with httpx.Client(base_url=api.address, trust_env=False) as client:
        asked = {**example("linear"), "background": example("linear")["instances"] * 4}
        headers = {"Prefer": "respond-async"}
        for _ in range(2):
            assert client.post("/explain", json=asked, headers=headers).status_code == 202
        asked["background"] *= 25
        assert client.post("/explain", json=asked, headers=headers).status_code == 429


def test_cost_grows_with_the_samples(start_api):
    api = start_api("--max-explain-cost-s", "10000")
    with httpx.Client(base_url=api.address, trust_env=False) as client:
        asked = {**example("linear"), "method": "permutation", "samples": 10}
        headers = {"Prefer": "respond-async"}
        for _ in range(2):
            assert client.post("/explain", json=asked, headers=headers).status_code == 202
        asked["samples"] = 100_000
        assert client.post("/explain", json=asked, headers=headers).status_code == 429
        # A method that does not sample ignores the number.
        asked["method"] = "exact"
        assert client.post("/explain", json=asked, headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WHYSERVE_HOST": "0.0.0.0"}, "WHYSERVE_HOST: 0.0.0.0 is open to other machines, and no API keys are set"),
        ({"WHYSERVE_HOST": "::"}, "WHYSERVE_HOST: :: is open to other machines"),
        ({"WHYSERVE_KEYS": "nonsense"}, "WHYSERVE_KEYS, line 1: must be NAME SCOPES SHA256"),
        ({"WHYSERVE_KEYS_FILE": "/nowhere"}, "WHYSERVE_KEYS_FILE: /nowhere cannot be read"),
    ],
)
def test_unsafe_key_settings_prevent_the_start(environment, words, artifacts, tmp_path):
    api = Running(["api", "--artifacts", str(artifacts), "--state", str(tmp_path), "--port", "0"], environment)
    try:
        assert api.process.wait(60) == 1
    finally:
        api.stop()
    assert words in api.output
    assert "Traceback" not in api.output


def test_anonymous_access_can_be_allowed(start_api):
    api = start_api("--host", "0.0.0.0", WHYSERVE_ALLOW_ANONYMOUS="true", WHYSERVE_KEYS="")
    answer = httpx.post(f"{api.address}/predict", json=example("linear"), trust_env=False)
    assert answer.status_code == 200

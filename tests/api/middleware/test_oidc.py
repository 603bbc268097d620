"""Tokens of an OpenID Connect issuer: really signed, with keys of a server that rotates them and goes away."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.conftest import example
from whyserve.api.middleware import oidc
from whyserve.api.middleware.auth import Authentication
from whyserve.api.middleware.keys import fresh
from whyserve.errors import ConfigurationError, Forbidden, Unauthorized, Unavailable
from whyserve.settings import ApiSettings

AUDIENCE = "whyserve"
RSA = {kid: rsa.generate_private_key(65537, 2048) for kid in ("first", "second", "stranger")}


class Issuer:
    """An issuer's two documents over HTTP."""

    def __init__(self) -> None:
        issuer = self
        self.keys: list[dict[str, Any]] = []
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = {"/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                        "/keys": {"keys": issuer.keys}}[self.path]  # fmt: skip
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def publish(self, *kids: str) -> None:
        self.keys = [RSAAlgorithm.to_jwk(RSA[kid].public_key(), as_dict=True) | {"kid": kid} for kid in kids]

    def token(self, kid: str = "first", *, claimed: str | None = None, **claims: Any) -> str:
        now = time.time()
        facts = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "exp": now + 300, "iat": now, "scope": "predict"}
        facts = {name: value for name, value in (facts | claims).items() if value is not None}
        return jwt.encode(facts, RSA[kid], "RS256", headers={"kid": claimed or kid})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    made.publish("first")
    yield made
    made.close()


def build(issuer: Issuer, **change: Any) -> Authentication:
    facts = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
    made = Authentication.build(ApiSettings(**{**facts, **change}))
    assert made is not None
    return made


def ask(authentication: Authentication, token: str, path: str = "/predict", **more: str) -> str | None:
    headers = {b"authorization": f"Bearer {token}".encode(), **{k.encode(): v.encode() for k, v in more.items()}}
    end = time.monotonic() + 10
    while True:
        try:
            return authentication.caller(path, headers)
        except Unavailable:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_token_names_its_caller_and_has_its_scopes_only(issuer):
    guard = build(issuer)
    assert ask(guard, issuer.token()) == "oidc:ada"
    with pytest.raises(Forbidden, match="needs the scope explain; oidc:ada has only predict"):
        ask(guard, issuer.token(), "/explain")
    both = issuer.token(scope=None, scp=["explain", "predict", "other"])
    assert ask(guard, both, "/explain") == "oidc:ada"
    assert ask(guard, issuer.token(scope=""), "/models") == "oidc:ada"  # any caller may read it
    with pytest.raises(Forbidden, match="has only none"):
        ask(guard, issuer.token(scope=None), "/predict")


def test_scopes_and_the_caller_s_name_can_be_other_claims(issuer):
    guard = build(issuer, oidc_scope_prefix="api://why/", oidc_caller_claim="client_id")
    token = issuer.token(client_id="batch", scope="api://why/predict admin")
    assert ask(guard, token) == "oidc:batch"
    with pytest.raises(Forbidden):
        ask(guard, token, "/metrics")
    with pytest.raises(Unauthorized, match="MissingRequiredClaim"):
        ask(guard, issuer.token())


SHIFT_S = oidc.SKEW_S
BAD: dict[str, dict[str, Any]] = {
    "expired": {"exp": time.time() - SHIFT_S - 3600},
    "not yet valid": {"nbf": time.time() + SHIFT_S + 3600},
    "without an end": {"exp": None},
    "of another issuer": {"iss": "https://elsewhere.example"},
    "for another audience": {"aud": "other"},
    "for nobody": {"aud": None},
    "without a name": {"sub": None},
    "with a name that is too long": {"sub": "a" * 201},
    "with a line break in the name": {"sub": "a\nb"},
    "signed by a stranger": {"kid": "stranger", "claimed": "first"},
}


@pytest.mark.parametrize("case", BAD)
def test_other_tokens_are_refused(case, issuer):
    with pytest.raises(Unauthorized, match="the token is not valid"):
        ask(build(issuer), issuer.token(**BAD[case]))


def test_the_algorithm_is_not_the_token_s_choice(issuer):
    guard = build(issuer)
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    public = json.dumps(issuer.keys[0]).encode() * 2
    for token in (
        jwt.encode(claims, "", "none", headers={"kid": "first"}),
        jwt.encode(claims, public, "HS256", headers={"kid": "first"}),
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "first"}),
        issuer.token()[:-6] + "AAAAAA",
        "not.a.token",
    ):
        with pytest.raises(Unauthorized):
            ask(guard, token)


def test_an_elliptic_key_works_too(issuer):
    private = ec.generate_private_key(ec.SECP256R1())
    issuer.keys = [ECAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": "e"}]
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    assert ask(build(issuer), jwt.encode(claims, private, "ES256", headers={"kid": "e"})) == "oidc:ada"


def test_clocks_may_differ_a_little(issuer):
    late = time.time() - SHIFT_S / 2
    assert ask(build(issuer), issuer.token(exp=late)) == "oidc:ada"
    assert ask(build(issuer), issuer.token(iat=time.time() + SHIFT_S / 2, nbf=time.time() + SHIFT_S / 2)) == "oidc:ada"


def test_keys_are_rotated_and_a_withdrawn_key_is_refused(issuer, monkeypatch):
    monkeypatch.setattr(oidc, "FETCH_AGAIN_S", 0.1)
    guard = build(issuer)
    old = issuer.token()
    assert ask(guard, old) == "oidc:ada"
    issuer.publish("second")
    time.sleep(0.2)
    assert ask(guard, issuer.token("second")) == "oidc:ada"
    time.sleep(0.2)
    with pytest.raises(Unauthorized, match="its key is not one of the issuer's"):
        ask(guard, old)


def test_invented_keys_cause_few_fetches(issuer):
    guard = build(issuer)
    ask(guard, issuer.token())
    asked = issuer.asked
    for number in range(50):
        with pytest.raises(Unauthorized):
            ask(guard, issuer.token("stranger", claimed=f"k{number}"))
    assert issuer.asked <= asked + 2


def test_an_issuer_that_goes_away_changes_nothing(issuer, monkeypatch, caplog):
    monkeypatch.setattr(oidc, "FETCH_EVERY_S", 0.1)
    guard = build(issuer)
    ask(guard, issuer.token())
    issuer.close()
    end = time.monotonic() + 10
    while "cannot be fetched" not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert ask(guard, issuer.token(sub="grace")) == "oidc:grace"


def test_without_the_issuer_tokens_wait_and_keys_work(issuer):
    secret, line = fresh("own", ["predict"])
    guard = build(issuer, keys=line, oidc_jwks_url="http://127.0.0.1:9/keys")
    with pytest.raises(Unavailable) as refused:
        guard.caller("/predict", {b"authorization": f"Bearer {issuer.token()}".encode()})
    assert refused.value.details["retry_after_s"] == 1
    assert guard.caller("/predict", {b"x-api-key": secret.encode()}) == "own"


def test_a_gateway_s_token_beside_a_valid_key_is_accepted(issuer):
    secret, line = fresh("own", ["explain"])
    only_keys = Authentication(line, None)
    for token in (issuer.token(), "anything"):
        assert ask(only_keys, token, "/explain", **{"x-api-key": secret}) == "own"
    with pytest.raises(Unauthorized):
        ask(only_keys, issuer.token(), "/explain", **{"x-api-key": "wrong"})
    assert ask(build(issuer, keys=line), issuer.token(), **{"x-api-key": "wrong"}) == "oidc:ada"


def test_an_issuer_needs_an_audience():
    with pytest.raises(ConfigurationError, match="WHYSERVE_OIDC_AUDIENCE: is missing"):
        Authentication.build(ApiSettings(oidc_issuer="http://127.0.0.1:9"))


def test_a_service_accepts_a_token_over_http(start_api, issuer):
    import httpx

    api = start_api(WHYSERVE_OIDC_ISSUER=issuer.url, WHYSERVE_OIDC_AUDIENCE=AUDIENCE)
    end = time.monotonic() + 20
    with httpx.Client(base_url=api.address, trust_env=False) as client:
        while True:
            answer = client.post(
                "/predict", json=example("linear"), headers={"Authorization": f"Bearer {issuer.token()}"}
            )
            if answer.status_code != 503 or time.monotonic() > end:
                break
            assert answer.headers["retry-after"] == "1"
        assert answer.status_code == 200, answer.text
        assert client.post("/predict", json=example("linear")).status_code == 401
    assert issuer.token()[:20] not in api.output

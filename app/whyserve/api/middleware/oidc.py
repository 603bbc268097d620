"""Tokens of an OpenID Connect issuer: who sends a request, and which scopes the caller has.

The issuer's public keys (RFC 7517) are fetched in a thread: never while a request waits. If the issuer cannot be
reached, the keys fetched last stay in use.
"""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

import jwt

from whyserve.api.middleware.keys import SCOPES
from whyserve.errors import ConfigurationError, Unauthorized, Unavailable
from whyserve.settings import ApiSettings

log = logging.getLogger("whyserve.api")

# Signatures with a public key only. A token cannot choose another algorithm.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SKEW_S = 60.0  # how far the clocks of issuer and service may differ
FETCH_EVERY_S = 300.0
# A token with an unknown key asks for a fetch. Invented tokens must not cause many.
FETCH_AGAIN_S = 5.0
FETCH_TIMEOUT_S = 10.0
MOST_KNOWN = 1024  # verified tokens that are kept, until they expire
LONGEST_NAME = 200
REFUSED = "the token is not valid"

Caller = tuple[str, frozenset[str]]  # the name, with a prefix that no API key has, and the scopes


class Issuer:
    """Verifies tokens. One event loop calls `caller`."""

    def __init__(self, settings: ApiSettings) -> None:
        """Raises ConfigurationError if the audience is missing."""
        if not settings.oidc_issuer or not settings.oidc_audience:
            raise ConfigurationError("WHYSERVE_OIDC_AUDIENCE: is missing; set the audience that tokens must name")
        self._issuer, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._jwks_url = settings.oidc_jwks_url
        self._prefix, self._claim = settings.oidc_scope_prefix, settings.oidc_caller_claim
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._known: dict[bytes, tuple[float, Caller]] = {}  # with the end of the token, in seconds since the epoch
        self._wanted, self._tried = threading.Event(), 0.0
        threading.Thread(target=self._keep_fetching, name="oidc", daemon=True).start()

    def caller(self, token: bytes) -> Caller:
        """The caller of a token. Raises Unauthorized, and Unavailable until the issuer's keys are known."""
        now = time.time()
        end, known = self._known.get(token, (0.0, None))
        if known and now < end + SKEW_S:
            return known
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token, key, algorithms=list(ALGORITHMS), audience=self._audience, issuer=self._issuer, leeway=SKEW_S,
                options={"require": ["exp", "iss", "aud", self._claim]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            # The message names the claim, and never repeats the token.
            raise Unauthorized(f"{REFUSED}: {type(error).__name__.removesuffix('Error')}") from error
        found = self._read(claims)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[token] = float(claims["exp"]), found
        return found

    def _read(self, claims: Mapping[str, Any]) -> Caller:
        name, scopes = claims[self._claim], claims.get("scope", claims.get("scp", ""))
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
            raise Unauthorized(f"{REFUSED}: {self._claim} is no name")
        given = set(scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else ())
        return f"oidc:{name}", frozenset(scope for scope in SCOPES if self._prefix + scope in given)

    def _key(self, kid: str | None) -> jwt.PyJWK:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if kid in self._keys:
            return self._keys[kid]
        if time.monotonic() - self._tried > FETCH_AGAIN_S:
            self._wanted.set()
        elif self._keys:
            raise Unauthorized(f"{REFUSED}: its key is not one of the issuer's")
        raise Unavailable("the keys of the token's issuer are being fetched; retry later", retry_after_s=1)

    def _keep_fetching(self) -> None:
        while True:
            try:
                self._fetch()
            except Exception as error:  # of the network, or of what the issuer has sent
                log.error("the keys of %s cannot be fetched (%s); those known so far stay in use", self._issuer, error)
            self._tried = time.monotonic()
            self._wanted.wait(FETCH_EVERY_S if self._keys else FETCH_AGAIN_S)
            self._wanted.clear()

    def _fetch(self) -> None:
        if self._jwks_url is None:
            place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            with urllib.request.urlopen(place, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
                url = str(json.load(answer)["jwks_uri"])
        else:
            url = self._jwks_url
        found = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_S).get_signing_keys()
        self._keys = {key.key_id: key for key in found}
        self._known = {}  # a token of a withdrawn key is refused from now on

"""API keys: who sends a request, and which scope each path needs."""

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whyserve.api.middleware.keys import Key, find, read_keys
from whyserve.errors import ConfigurationError, Forbidden, Unauthorized
from whyserve.settings import ApiSettings, Settings

if TYPE_CHECKING:
    from starlette.types import Scope

    from whyserve.api.middleware.oidc import Issuer

log = logging.getLogger("whyserve.api")

CHECK_S = 1.0  # a changed key file is read when it has not changed for this time
OPEN, ANY = "open", "any"  # no key is needed; any key will do
NO_KEY = "a valid API key is missing; send Authorization: Bearer KEY, or X-API-Key: KEY"

# The first matching pattern decides. Every other path, such as a future one, needs admin.
SCOPES_BY_PATH: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), scope)
    for pattern, scope in (
        (r"/predict", "predict"),
        (r"/v2/models/[^/]+(/versions/[^/]+)?/infer", "predict"),
        (r"/v1/models/[^/]+:predict", "predict"),
        (r"/explain|/counterfactual", "explain"),
        (r"/explanations/[^/]+(/events)?", "explain"),
        (r"/v2/models/[^/]+(/versions/[^/]+)?/explain", "explain"),
        (r"/v1/models/[^/]+:explain", "explain"),
        (r"/predictions(/[^/]+)?", "record"),
        (r"/predictions/[^/]+/erase", "erase"),
        (r"/health/(live|ready)|/v2/health/(live|ready)", OPEN),
        # The page has no data of its own. It requests the data with a key.
        (r"/|/help|/assets/[^/]+|/docs-assets(/.*)?", OPEN),
        (r"/v2/models/stats|/v2/models/[^/]+(/versions/[^/]+)?/stats", "admin"),
        (r"/docs|/openapi\.json|/models|/models/[^/]+", ANY),
        (r"/v2/?|/v2/models|/v2/models/[^/]+(/versions/[^/]+)?(/ready)?|/v1/models|/v1/models/[^/:]+", ANY),
    )
)


def required_scope(path: str) -> str:
    """The scope that a path needs, or OPEN, or ANY."""
    return next((scope for pattern, scope in SCOPES_BY_PATH if pattern.fullmatch(path)), "admin")


def caller_of(scope: "Scope") -> str | None:
    """The name of the key that a request came with; None without keys."""
    caller: str | None = scope["state"].get("caller")
    return caller


class Authentication:
    """The keys of a setting and a file, and the tokens of an issuer.

    A changed file is read again when it has stopped changing; a broken one leaves the keys as they are.
    """

    def __init__(self, text: str | None, file: Path | None, issuer: "Issuer | None" = None) -> None:
        """Raises ConfigurationError."""
        self._file, self._stamp, self._checked = file, _stamp(file), time.monotonic()
        self._fixed = read_keys(text, "WHYSERVE_KEYS") if text else ()
        self._keys = self._fixed + (_read(file) if file else ())
        self._issuer = issuer

    @classmethod
    def build(cls, settings: Settings) -> "Authentication | None":
        """None without keys and issuer: then every request is allowed."""
        if not settings.is_guarded:
            return None
        issuer = None
        if isinstance(settings, ApiSettings) and settings.oidc_issuer:
            try:
                from whyserve.api.middleware.oidc import Issuer  # noqa: PLC0415  # few services need PyJWT
            except ImportError as error:
                raise ConfigurationError(
                    'WHYSERVE_OIDC_ISSUER: needs the extra "oidc": pip install "whyserve[oidc]", or build with'
                    " EXTRAS=oidc"
                ) from error
            issuer = Issuer(settings)
        return cls(settings.keys, settings.keys_file, issuer)

    def caller(self, path: str, headers: Mapping[bytes, bytes]) -> str | None:
        """The name of the request's caller; None for an open path. Raises Unauthorized, Forbidden, Unavailable."""
        return self.identity(path, headers)[0]

    def identity(self, path: str, headers: Mapping[bytes, bytes]) -> tuple[str | None, frozenset[str]]:
        """The same, with the caller's scopes."""
        scope = required_scope(path)
        if scope == OPEN:
            return None, frozenset()
        name, scopes = self._identity(headers)
        if scope not in (ANY, *scopes):
            raise Forbidden(f"this path needs the scope {scope}; {name} has only {', '.join(sorted(scopes)) or 'none'}")
        return name, scopes

    def _identity(self, headers: Mapping[bytes, bytes]) -> tuple[str, frozenset[str]]:
        """Name and scopes. A gateway may send a token of its own beside a caller's X-API-Key: one of both is enough."""
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        token = bearer.strip() if scheme.lower() == b"bearer" else b""
        keys = self._current()
        for secret in (token, headers.get(b"x-api-key", b"").strip()):
            if secret and (key := find(keys, secret)):
                return key.name, key.scopes
        if self._issuer is None or not token:
            raise Unauthorized(NO_KEY)
        return self._issuer.caller(token)

    def _current(self) -> tuple[Key, ...]:
        now = time.monotonic()
        if self._file and now - self._checked > CHECK_S:
            self._checked = now
            stamp = _stamp(self._file)
            # A file that is being written has changed just now. A file that was moved here may be older.
            is_quiet = stamp is None or abs(time.time() - stamp[0] / 1e9) > CHECK_S
            if is_quiet and stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._keys = self._fixed + _read(self._file)
                    log.warning("WHYSERVE_KEYS_FILE has changed; keys in use: %d", len(self._keys))
                except ConfigurationError as error:
                    log.error("%s; the previous keys stay in use", error.message)
        return self._keys


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


def _read(file: Path) -> tuple[Key, ...]:
    try:
        return read_keys(file.read_text(encoding="utf-8"), "WHYSERVE_KEYS_FILE")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"WHYSERVE_KEYS_FILE: {file} cannot be read as UTF-8 text; check its path and permissions"
        ) from error

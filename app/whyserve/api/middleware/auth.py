"""Who asks, and whether they may: API keys, and the scope that each address needs."""

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path

from whyserve.api.middleware.keys import Key, find, read_keys
from whyserve.errors import ConfigurationError, Forbidden, Unauthorized
from whyserve.settings import ApiSettings

log = logging.getLogger("whyserve.api")

LOOK_S = 1.0  # a changed file of keys is noticed after so long
OPEN, ANY = "open", "any"  # for everybody; for every key

# The first that matches decides. What is not here, such as an address that is added one day, needs admin.
NEEDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), needed)
    for pattern, needed in (
        (r"/predict", "predict"),
        (r"/v2/models/[^/]+(/versions/[^/]+)?/infer", "predict"),
        (r"/v1/models/[^/]+:predict", "predict"),
        (r"/explain", "explain"),
        (r"/explanations/[^/]+(/events)?", "explain"),
        (r"/v2/models/[^/]+(/versions/[^/]+)?/explain", "explain"),
        (r"/v1/models/[^/]+:explain", "explain"),
        (r"/health/(live|ready)|/v2/health/(live|ready)", OPEN),
        # The page is the same for everybody; what it shows it asks for with a key.
        (r"/|/help|/assets/[^/]+|/docs-assets(/.*)?", OPEN),
        (r"/v2/models/stats|/v2/models/[^/]+(/versions/[^/]+)?/stats", "admin"),
        (r"/docs|/docs/oauth2-redirect|/openapi\.json|/models|/models/[^/]+", ANY),
        (r"/v2/?|/v2/models|/v2/models/[^/]+(/versions/[^/]+)?(/ready)?|/v1/models|/v1/models/[^/:]+", ANY),
    )
)


def needed(path: str) -> str:
    """The scope that an address needs, or OPEN, or ANY."""
    return next((scope for pattern, scope in NEEDS if pattern.fullmatch(path)), "admin")


class Authentication:
    """The keys of a setting or a file; a changed file is read again, and a broken one changes nothing."""

    def __init__(self, text: str | None, file: Path | None) -> None:
        """Raises ConfigurationError."""
        self._file, self._stamp, self._looked = file, _stamp(file), time.monotonic()
        self._given = read_keys(text, "WHYSERVE_KEYS") if text else ()
        self._keys = self._given + (_read(file) if file else ())

    @classmethod
    def build(cls, settings: ApiSettings) -> "Authentication | None":
        """None where there are no keys, and everybody may ask everything."""
        if not settings.keys and not settings.keys_file:
            return None
        return cls(settings.keys, settings.keys_file)

    def caller(self, path: str, headers: Mapping[bytes, bytes]) -> str | None:
        """The name of the key that a request came with. Raises Unauthorized, Forbidden."""
        scope = needed(path)
        if scope == OPEN:
            return None
        key = find(self._current(), _secret(headers))
        if key is None:
            raise Unauthorized("this needs a key that is known here, as Authorization: Bearer KEY or X-API-Key: KEY")
        if scope not in (ANY, *key.scopes):
            raise Forbidden(f"this needs a key of scope {scope}; {key.name} has {', '.join(sorted(key.scopes))}")
        return key.name

    def _current(self) -> tuple[Key, ...]:
        now = time.monotonic()
        if self._file and now - self._looked > LOOK_S:
            self._looked = now
            if (stamp := _stamp(self._file)) != self._stamp:
                self._stamp = stamp
                try:
                    self._keys = self._given + _read(self._file)
                    log.warning("the keys are those of the changed WHYSERVE_KEYS_FILE now: %d", len(self._keys))
                except ConfigurationError as error:
                    log.error("%s; the keys stay as they were", error.message)
        return self._keys


def _secret(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
    return secret.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"").strip()


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
        raise ConfigurationError(f"WHYSERVE_KEYS_FILE: {file} cannot be read as text") from error

"""The page at /: the files that `make ui` builds from ui/. They are held in memory, compressed."""

import gzip
import hashlib
import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from whyserve.api.middleware.answers import accepts_gzip

STATIC = Path(__file__).parents[1] / "static"
# The page loads only its own files and calls only this service. Inline scripts and styles are forbidden.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
# The name of a file in assets/ contains a hash of its content. Browsers must check every other file each time.
IMMUTABLE, REVALIDATE = "public, max-age=31536000, immutable", "no-cache"
# Only for the tests of the build.
NOT_SERVED = {"sources.json"}


def page_routes() -> list[Route]:
    """One route per file. The files are read here, so that no request waits for the disk or the compression."""
    files = {path.relative_to(STATIC).as_posix(): path for path in sorted(STATIC.rglob("*")) if path.is_file()}
    return [_route(name, path) for name, path in files.items() if name not in NOT_SERVED]


def _route(name: str, path: Path) -> Route:
    plain = path.read_bytes()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        **HEADERS,
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "Cache-Control": IMMUTABLE if name.startswith("assets/") else REVALIDATE,
        "ETag": f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"',
    }
    compressed = gzip.compress(plain, 9, mtime=0)

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if accepts_gzip(request.headers.get("accept-encoding", "").encode("latin-1")):
            return Response(compressed, headers={**headers, "Content-Encoding": "gzip"})
        return Response(plain, headers=headers)

    return Route("/" + name.removesuffix(".html").removesuffix("index"), answer, include_in_schema=False)

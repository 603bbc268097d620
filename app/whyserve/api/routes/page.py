"""The page at /, and the OpenAPI document as a page at /docs.

The files of the page, which `make ui` builds from ui/, are held in memory, compressed. The script and the style of
/docs come from a package, not from a CDN.
"""

import base64
import gzip
import hashlib
import mimetypes
import re
from pathlib import Path

import fastapi_offline
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

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
ASSETS = Path(fastapi_offline.__file__).parent / "static"
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Swagger UI sets styles of single elements. Of scripts, only its own file and the page's one inline script may run.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


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


async def docs(request: Request) -> HTMLResponse:
    root = request.scope["root_path"]
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Whyserve",
        swagger_js_url=f"{root}/docs-assets/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs-assets/swagger-ui.css",
        swagger_favicon_url=f"{root}/docs-assets/favicon.png",
    )
    inline = INLINE.search(page.body)
    assert inline is not None, "the page starts Swagger UI with an inline script"
    digest = base64.b64encode(hashlib.sha256(inline[1]).digest()).decode()
    page.headers["Content-Security-Policy"] = DOCS_POLICY.format(digest=digest)
    return page


def docs_routes() -> list[Route | Mount]:
    return [
        Route("/docs", docs, include_in_schema=False),
        Mount("/docs-assets", StaticFiles(directory=ASSETS), name="docs-assets"),
    ]

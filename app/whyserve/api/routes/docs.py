"""GET /docs: the OpenAPI document as a page. Its script and style come from a package, not from a CDN."""

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

ASSETS = Path(fastapi_offline.__file__).parent / "static"
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Swagger UI sets styles of single elements. Of scripts, only its own file and the page's one inline script may run.
POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


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
    page.headers["Content-Security-Policy"] = POLICY.format(digest=digest)
    return page


def docs_routes() -> list[Route | Mount]:
    return [
        Route("/docs", docs, include_in_schema=False),
        Mount("/docs-assets", StaticFiles(directory=ASSETS), name="docs-assets"),
    ]

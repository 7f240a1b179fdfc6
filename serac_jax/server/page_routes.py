"""The web page: static files, and what a browser may do with them."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

from serac_jax.server.problems import Problem

router = APIRouter(include_in_schema=False)

FILES = {file.name: file for file in Path(__file__).with_name("page").iterdir()}
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Scripts and styles are those of this server alone, and no text becomes markup.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # an update of the server is one of the page at once
}


@router.get("/")
def page() -> FileResponse:
    """The page."""
    return part("index.html")


@router.get("/page/{name}")
def part(name: str) -> FileResponse:
    """One of its files."""
    if not (file := FILES.get(name)):
        raise Problem(404, "the page has no such file", "not_found")
    return FileResponse(file, media_type=TYPES[file.suffix], headers=HEADERS)

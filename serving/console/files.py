"""The static files of the console, by the paths under which the HTTP endpoint serves them.

The files stand in `static/`. They hold no secret, so a browser gets them without a token; what they
show comes from requests that need one. A browser asks again before it reuses a file, and gets it
only if it has changed.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

_STATIC = Path(__file__).with_name("static")
_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# Paths of pages; the file NAME in `static/` also has the path `/console/NAME`.
_PAGES: Mapping[str, str] = {
    "/": "index.html",
    "/console": "index.html",
    "/console/": "index.html",  # where a host's own page has the path "/"
    "/docs": "docs/index.html",
}
# A page loads nothing from elsewhere, runs no script of its markup, and stands in no frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' blob: data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_VIEWER_STYLES = " 'unsafe-inline'"  # the viewer in `docs/` sets style attributes


class StaticFile(NamedTuple):
    """A file and the headers of its answer; `etag` is one of them."""

    body: bytes
    headers: list[tuple[bytes, bytes]]
    etag: bytes


def list_paths() -> Mapping[str, str]:
    """Return the paths of all pages and files, with the names of the files."""
    names = (
        path.relative_to(_STATIC).as_posix()
        for path in sorted(_STATIC.rglob("*"))
        if path.suffix in _TYPES
    )
    return {**_PAGES, **{f"/console/{name}": name for name in names}}


@cache  # of the few files that `list_paths` lists
def read_file(name: str) -> StaticFile:
    """Return a file by its name in `list_paths`."""
    path = _STATIC / name
    body = path.read_bytes()
    etag = b'"%s"' % blake2b(body, digest_size=12).hexdigest().encode()
    styles = _VIEWER_STYLES if name.startswith("docs/") else ""
    headers = {
        "content-type": _TYPES[path.suffix],
        "cache-control": "no-cache",
        "etag": etag.decode(),
        "content-security-policy": _POLICY.format(styles=styles),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }
    return StaticFile(
        body, [(key.encode(), value.encode()) for key, value in headers.items()], etag
    )

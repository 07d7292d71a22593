"""The start page of the demo, which links all the others, and a small server for it."""

import html
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

_STYLE = (
    "body{font:17px/1.6 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;"
    "color:#1f2328;background:#fff}a{color:#0b6e4f}dt{font-weight:600;margin-top:1rem}dd{margin:0}"
)


class Link(NamedTuple):
    """One line of the page."""

    name: str
    url: str  # empty: there is nothing yet
    about: str


def write_start_page(folder: Path, links: list[Link], state: str) -> None:
    """Write `index.html`, which a browser loads again every ten seconds."""
    lines = "".join(f"<dt>{_link(one)}</dt><dd>{html.escape(one.about)}</dd>" for one in links)
    (folder / "index.html").write_text(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        "<meta http-equiv=refresh content=10><title>Sparing: demo</title>"
        f"<style>{_STYLE}</style><h1>Sparing: demo</h1><p>{html.escape(state)}</p>"
        f"<dl>{lines}</dl></html>"
    )


def _link(link: Link) -> str:
    name = html.escape(link.name)
    return f'<a href="{html.escape(link.url)}">{name}</a>' if link.url else name


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal has what the demo says."""


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve the files of a folder to this machine, on a free port, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

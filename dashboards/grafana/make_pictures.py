"""Pictures of the dashboards, drawn by Grafana's own components with a Prometheus' current values.

    python -m dashboards.grafana.make_pictures --prometheus http://127.0.0.1:9090 --route NAME

Needs npm and chromium. It installs npm packages once, outside the repository: into $SPARING_NODE,
else the user's cache directory. The server needs none of this.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from dashboards.grafana.asking import Source
from dashboards.grafana.questions import FILES, fill, read_dashboard, read_variables

SOURCES = Path(__file__).parent / "pictures"
PACKAGES = ("@grafana/ui@13.2.2", "@grafana/data@13.2.2", "react@19.3.1", "react-dom@19.3.1",
            "esbuild@0.25.9")  # fmt: skip
STEPS = 240


def answer(path: Path, source: Source, chosen: dict[str, str], note: str) -> dict[str, object]:
    """Return a dashboard with the results of all its queries."""
    board = read_dashboard(path)
    variables = {**read_variables(path), "__rate_interval": chosen["__rate_interval"]}
    variables["route"] = variables["route"] or chosen["route"]
    answers = {
        panel["id"]: {
            query["refId"]: source.ask(fill(query["expr"], variables), query["instant"])
            for query in panel["targets"]
        }
        for panel in board["panels"]
    }
    return {
        "title": board["title"],
        "note": note,
        "panels": board["panels"],
        "answers": answers,
        "fromMs": 1000 * source.start_s,
        "toMs": 1000 * source.end_s,
    }


def build(folder: Path) -> None:
    """Build the page and its script, without the dashboard's data."""
    cache = Path(os.environ.get("SPARING_NODE", Path.home() / ".cache" / "sparing")) / "pictures"
    npm = _find("npm")
    if not (cache / "node_modules" / ".package-lock.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_text('{"private": true}')
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "-E", *PACKAGES]
        subprocess.run(command, cwd=cache, check=True, timeout=580)
    shutil.copy(SOURCES / "page.jsx", cache)
    shutil.copy(SOURCES / "index.html", folder)
    command = [
        str(cache / "node_modules" / ".bin" / "esbuild"), "page.jsx", "--bundle", "--jsx=automatic",
        '--define:process.env.NODE_ENV="production"', "--loader:.svg=dataurl",
        "--loader:.ttf=dataurl", "--log-level=error",
        f"--outfile={folder / 'page.js'}",
    ]  # fmt: skip
    subprocess.run(command, cwd=cache, check=True, timeout=300)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def take_screenshot(folder: Path, board: dict[str, object], picture: Path) -> None:
    """Take a picture of a dashboard with a headless browser."""
    (folder / "board.js").write_text(f"window.BOARD = {json.dumps(board)};")
    panels: Any = board["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            _find("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu",
            "--hide-scrollbars", f"--window-size=1600,{rows * 36 + 48}",
            "--virtual-time-budget=15000", f"--screenshot={picture}",
            f"http://127.0.0.1:{server.server_port}/index.html",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        server.shutdown()
    with Image.open(picture) as image:  # few colours, so a quarter of the bytes
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise SystemExit(f"{program} is missing: install it, on Debian with apt-get")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--route", required=True, help="the route that the dashboard Route shows")
    parser.add_argument("--minutes", type=float, default=15.0, help="minutes up to now to show")
    parser.add_argument("--rate-interval", default="1m", help="four times the scrape interval")
    parser.add_argument("--note", default="", help="a note beside the title")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/dashboards"))
    chosen = parser.parse_args()
    variables = {"route": chosen.route, "__rate_interval": chosen.rate_interval}
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        source = Source(chosen.prometheus, 60 * chosen.minutes, STEPS)
        for path in FILES:
            board = answer(path, source, variables, chosen.note)
            take_screenshot(Path(name), board, (chosen.out / f"{path.stem}.png").absolute())


if __name__ == "__main__":
    main()

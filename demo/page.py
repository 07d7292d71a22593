"""A page with a plot of every panel of the dashboards, drawn from what a Prometheus says."""

import html
import io
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from monitoring.grafana.asking import Source
from monitoring.grafana.questions import FILES, fill, read, read_variables

STEPS = 90
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;color:#1f2328}"
    ".board{display:grid;grid-template-columns:repeat(auto-fill,minmax(24rem,1fr));gap:.6rem}"
    ".panel{border:1px solid #d0d7de;border-radius:6px;padding:.5rem}svg{max-width:100%}"
    ".big{font-size:1.8rem}h3{margin:0;font-size:1rem}small{color:#57606a}"
)


def draw_dashboards(prometheus: str, back_s: float, route: str, folder: Path) -> tuple[int, int]:
    """Writes `index.html`; how many panels have data, and how many there are."""
    source = Source(prometheus, back_s, STEPS)
    answered = panels = 0
    parts = []
    for path in FILES:
        board = read(path)
        variables = {**read_variables(path), "__rate_interval": "10s"}
        variables["route"] = variables.get("route") or route
        parts.append(f"<h2>{html.escape(board['title'])}</h2><div class=board>")
        for panel in board["panels"]:
            if not panel.get("targets"):
                continue
            text = _draw(panel, source, variables)
            panels += 1
            answered += bool(text)
            title = html.escape(panel["title"])
            parts.append(
                f"<div class=panel><h3>{title}</h3>{text or '<small>no data</small>'}</div>"
            )
        parts.append("</div>")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Sparing: demo</title>"
        f"<style>{STYLE}</style><h1>Sparing: what the dashboards say</h1>"
        f"<p><a href=report.html>What was served, saved and spent</a>. "
        f"Joules here are a model's.</p>"
        f"{''.join(parts)}</html>"
    )
    (folder / "index.html").write_text(page)
    return answered, panels


def _draw(panel: dict[str, Any], source: Source, variables: dict[str, str]) -> str:
    """Lines over time, or the newest numbers; nothing where there is no data."""
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    lines: list[tuple[str, list[float], list[float]]] = []
    numbers: list[tuple[str, float]] = []
    for target in panel["targets"]:
        for one in source.ask(fill(target["expr"], variables), target["instant"]):
            name = ", ".join(value for key, value in one["metric"].items() if key != "__name__")
            if target["instant"]:
                numbers.append((name, float(one["value"][1])))
                continue
            points = [(float(at), float(value)) for at, value in one["values"]]
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if points:
                lines.append((name, *map(list, zip(*points, strict=True))))  # type: ignore[arg-type]
    numbers = [(name, value) for name, value in numbers if math.isfinite(value)]
    if lines:
        return _plot(lines, source.start_s, unit)
    return "".join(
        f"<div><span class=big>{value:.4g}</span> {html.escape(unit)} "
        f"<small>{html.escape(name)}</small></div>"
        for name, value in numbers[:8]
    )


def _plot(lines: list[tuple[str, list[float], list[float]]], start_s: float, unit: str) -> str:
    figure = Figure(figsize=(5.2, 2.2), layout="constrained")
    axes = figure.subplots()
    for name, times, values in lines[:12]:
        axes.plot([at - start_s for at in times], values, label=name[:40], lw=1.2)
    axes.set_xlabel("s", fontsize=7)
    axes.set_ylabel(unit, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if any(name for name, _, _ in lines):
        axes.legend(frameon=False, fontsize=6, ncols=2)
    file = io.StringIO()
    figure.savefig(file, format="svg")
    text = file.getvalue()
    return text[text.index("<svg") :]

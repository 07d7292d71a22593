"""A page with a plot of every panel of the dashboards, drawn from a Prometheus' data."""

import html
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dashboards.grafana.asking import Source
from dashboards.grafana.questions import FILES, fill, read_dashboard, read_variables
from demo.units import Unit, choose_prefix, read_unit, show

STEPS = 90
Line = tuple[str, list[float], list[float]]  # name, times, values
ORDER = ("fleet", "route", "energy", "slo")
DIGEST_CHARS = 12  # of a digest that a panel shows
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;color:#1f2328;background:#fff}"
    ".board{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(24rem,100%),1fr));"
    "gap:.6rem}"
    ".panel{border:1px solid #d0d7de;border-radius:6px;padding:.5rem;min-width:0;"
    "overflow-wrap:anywhere;overflow-x:auto}svg{max-width:100%;height:auto}"
    ".wide{grid-column:1/-1}td,th{padding:.1rem .8rem;text-align:left}"
    ".big{font-size:1.8rem}h3{margin:0;font-size:1rem}small{color:#57606a}"
)


def draw_dashboards(
    prometheus: str, back_s: float, route: str, folder: Path
) -> tuple[list[str], int]:
    """Write `dashboards.html`. Returns the panels without data, and the number of panels.

    Lines show rates of ten seconds. Tiles and tables show the whole span, as the report does.
    """
    source = Source(prometheus, back_s, STEPS)
    panels = 0
    empty: list[str] = []
    parts: list[str] = []
    for path in sorted(FILES, key=lambda path: ORDER.index(path.stem)):
        board = read_dashboard(path)
        variables = {**read_variables(path), "__rate_interval": "10s"}
        whole = {"__rate_interval": f"{max(10, round(back_s))}s"}
        variables["route"] = variables.get("route") or route
        parts.append(f"<h2>{html.escape(board['title'])}</h2><div class=board>")
        for panel in board["panels"]:
            if not panel.get("targets"):
                continue
            text = _draw(panel, source, variables, {**variables, **whole})
            panels += 1
            title = html.escape(panel["title"])
            if not text:
                empty.append(f"{board['title']}, {panel['title']}")
            wide = " wide" if panel["type"] == "table" else ""
            parts.append(
                f"<div class='panel{wide}'><h3>{title}</h3>{text or '<small>no data</small>'}</div>"
            )
        parts.append("</div>")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Sparing: demo</title>"
        f"<style>{STYLE}</style><h1>Sparing: the dashboards</h1>"
        f"<p><a href=index.html>Start page</a> · "
        f"<a href=report.html>Report: answers, compute saved and energy</a></p>"
        f"<p>The last {back_s:,.0f} s. Energy values with the source model are estimates, not "
        f"measurements. Compute saved is the share of the full models' MACs that was not spent.</p>"
        f"{''.join(parts)}</html>"
    )
    (folder / "dashboards.html").write_text(page)
    return empty, panels


def _draw(
    panel: dict[str, Any], source: Source, variables: dict[str, str], whole: dict[str, str]
) -> str:
    """Draw lines over time, a table, or numbers of the whole span; "" without data."""
    if panel["type"] == "table":
        return _tabulate(panel, source, whole)
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    unit = read_unit(defaults.get("unit", ""))
    lines: list[Line] = []
    numbers: list[tuple[str, float]] = []
    for target in panel["targets"]:
        filled = fill(target["expr"], whole if target["instant"] else variables)
        for one in source.ask(filled, target["instant"]):
            name = _name_series(one["metric"])
            asked = [one["value"]] if target["instant"] else one["values"]
            points = [(float(at), float(value)) for at, value in asked]
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if points and target["instant"]:
                numbers.append((name, points[0][1]))
            elif points:
                lines.append((name, [at for at, _ in points], [value for _, value in points]))
    if lines:
        return _plot(lines, source.start_s, unit)
    words = _read_words(defaults.get("mappings", ()))
    return "".join(
        f"<div><span class=big>{html.escape(words.get(f'{value:g}') or show(value, unit))}</span>"
        f" <small>{html.escape(name)}</small></div>"
        for name, value in numbers
    )


def _name_series(labels: dict[str, str]) -> str:
    """Join the labels of a series; of a digest, as many characters as tell digests apart."""
    return ", ".join(
        value[:DIGEST_CHARS] if key == "digest" else value
        for key, value in labels.items()
        if key != "__name__"
    )


def _tabulate(panel: dict[str, Any], source: Source, variables: dict[str, str]) -> str:
    """Make a table with one row per route; columns are in the order of the queries."""
    columns = [
        (one["matcher"]["options"], property["value"])
        for one in panel["fieldConfig"]["overrides"]
        for property in one["properties"]
        if property["id"] == "unit"
    ]
    rows: dict[str, dict[str, str]] = {}
    for target, (name, named) in zip(panel["targets"], columns, strict=False):
        unit = read_unit(named)
        for one in source.ask(fill(target["expr"], variables), target["instant"]):
            value = float(one["value"][1])
            shown = show(value, unit) if math.isfinite(value) else "no traffic"
            rows.setdefault(one["metric"].get("route", ""), {})[name] = shown
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *(name for name, _ in columns)))
    body = "".join(
        f"<tr><td>{html.escape(route)}</td>"
        + "".join(f"<td>{html.escape(cells.get(name, '–'))}</td>" for name, _ in columns)
        + "</tr>"
        for route, cells in sorted(rows.items())
    )
    return f"<table><tr>{head}</tr>{body}</table>" if rows else ""


def _read_words(mappings: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Read the texts that a panel shows instead of numbers."""
    return {
        number: word["text"]
        for mapping in mappings
        if mapping["type"] == "value"
        for number, word in mapping["options"].items()
    }


def _plot(lines: list[Line], start_s: float, unit: Unit) -> str:
    scale, named = choose_prefix((value for _, _, values in lines for value in values), unit)
    figure = Figure(figsize=(5.2, 2.2), layout="constrained")
    axes = figure.subplots()
    for name, times, values in lines[:12]:
        scaled = [value * scale for value in values]
        axes.plot([at - start_s for at in times], scaled, label=name[:40], lw=1.2)
    axes.set_xlabel("s", fontsize=7)
    axes.set_ylabel(named, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if any(name for name, _, _ in lines):
        axes.legend(frameon=False, fontsize=6, ncols=2)
    file = io.StringIO()
    figure.savefig(file, format="svg")
    text = file.getvalue()
    return text[text.index("<svg") :]

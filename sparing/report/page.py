"""The HTML page of `sparing report`: a single file that contains its table and plots."""

import html
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

from sparing.failure import Failure
from sparing.report.reporting import RouteFigures, judge, list_rows
from sparing.report.sources import PrometheusSource, ReportSource

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1f2328}table{border-collapse:collapse}th,td{padding:.3rem .8rem;text-align:right;"
    "border-bottom:1px solid #d0d7de}th:first-child,td:first-child{text-align:left}"
    "svg{max-width:100%;height:auto}"
)
TIME_SERIES = (
    ("answers per second", "sum by (route) (rate(sparing_rows_total[{window}]))"),
    ("joules per answer", "sum by (route) (rate(sparing_energy_joules_total[{window}])) / "
     "sum by (route) (rate(sparing_rows_total[{window}]))"),
    ("compute saved, %", "100 * (1 - sum by (route) "
     "(rate(sparing_macs_total[{window}])) / "
     "sum by (route) (rate(sparing_full_macs_total[{window}])))"),
)  # fmt: skip


def write_page(path: Path, routes: Sequence[RouteFigures], figures: ReportSource) -> None:
    """Write the page. Raises Failure if matplotlib is missing or the file cannot be written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Failure("--html needs matplotlib: run make setup, or pip install matplotlib")
    title = f"Answers, compute saved and energy: {figures.span}"
    plots = [_draw_exits(routes), _draw_work(routes)]
    if isinstance(figures, PrometheusSource):
        window = f"{choose_window(figures.since_s)}s"
        plots += [
            _draw_time_series(figures, name, query.format(window=window))
            for name, query in TIME_SERIES
        ]
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Sparing</title>"
        f"<style>{STYLE}</style><h1>Sparing</h1><p>{html.escape(title)}.</p>"
        f"<p><strong>{html.escape(judge(routes))}</strong></p>{_table(routes)}{''.join(plots)}</html>"
    )
    try:
        path.write_text(text)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


def choose_window(span_s: int) -> int:
    """Return the seconds over which a rate is taken: five minutes, or less of a short span."""
    return min(300, max(10, span_s // 6))


def _table(routes: Sequence[RouteFigures]) -> str:
    rows = list_rows(routes)
    lines = [
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th", *["td"] * len(routes)], rows, strict=True)
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _draw_exits(routes: Sequence[RouteFigures]) -> str:
    """Draw one bar per route: the share of its answers by the stage that gave them, in %."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.5 * len(routes)), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(routes):
        left = 0.0
        for exit, count in one.exits.items():
            share = 100 * count / one.rows
            axes.barh(number, share, left=left, height=0.7, edgecolor="white")
            if share > 6:
                axes.text(left + share / 2, number, exit, ha="center", va="center", fontsize=8)
            left += share
    axes.set_yticks(range(len(routes)), [one.route for one in routes])
    axes.invert_yaxis()
    axes.set_title("stage that answered, % of the answers", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _draw_work(routes: Sequence[RouteFigures]) -> str:
    """Draw two bars per route: the GMACs that it used, and those of its full model alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.4 + 0.6 * len(routes)), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(routes):
        axes.barh(number - 0.2, one.full_macs / 1e9, 0.38, color="#b0b0b0",
                  label="full model alone" if number == 0 else None)  # fmt: skip
        axes.barh(number + 0.2, one.macs / 1e9, 0.38, color="#2f6fb0",
                  label="used" if number == 0 else None)  # fmt: skip
    axes.set_yticks(range(len(routes)), [one.route for one in routes])
    axes.invert_yaxis()
    axes.set_title("compute, GMACs", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _draw_time_series(figures: PrometheusSource, title: str, query: str) -> str:
    """Draw the query over time, one line per route; "" if Prometheus has no values."""
    from matplotlib.dates import AutoDateFormatter, AutoDateLocator
    from matplotlib.figure import Figure

    found = figures.time_series(query)
    if not found:
        return ""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    for route, (times, values) in sorted(found.items()):
        axes.plot([at / 86400 for at in times], values, label=route)  # days since 1970
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(AutoDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_title(title, fontsize=10)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _svg(figure: object) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg")  # type: ignore[attr-defined]
    text = file.getvalue()
    return text[text.index("<svg") :]

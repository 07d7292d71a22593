"""A report as Markdown: targets, a picture, a sentence a target, everything measured, and sections
of its own. What is in them is known to each benchmark's `*_report`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.verdicts import Row
from harness.results import Results


@dataclass(frozen=True, slots=True)
class Report:
    """What makes one benchmark's report out of its results."""

    title: str
    idea: str
    judge: Callable[[Results], list[Row]]
    plot: Callable[[Results, Path], None]
    columns: dict[str, str]
    sections: tuple[Callable[[Results], str], ...] = ()


def render(bench: str, report: Report, results: Results, source: Path) -> str:
    """The report as Markdown."""
    rows = report.judge(results)
    facts = results.facts
    runs = sorted({len(set(runs)) for runs in _runs_by_case(results).values()})
    counted = f"{runs[0]} to {runs[-1]}" if runs[1:] else f"{runs[0]}"
    versions = ", ".join(
        f"{name} {facts[name]}" for name in ("python", "onnxruntime", "numpy", "uvicorn", "grpcio")
    )
    parts = [
        f"# {report.title}",
        report.idea,
        f"Made by `{facts['command']}` on {facts['date']}: {facts['cpu']}, {facts['cores']} cores, "
        f"load average {facts['load_average']} at the end; {versions}. Medians of {counted} "
        f"runs, [smallest–largest]. Samples: `{source}`.",
        "## Targets",
        make_table(["what", "target", "measured", ""], [_cells(row) for row in rows]),
        f"![{report.title}](img/{bench}.png)",
        "## In words",
        "\n".join(f"- {row.sentence()}" for row in rows),
        "## Everything measured",
        _tabulate_cases(results, report.columns),
        *(section(results) for section in report.sections),
    ]
    return "\n\n".join(parts) + "\n"


def _runs_by_case(results: Results) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for sample in results.samples:
        found.setdefault(sample.case, []).append(sample.run)
    return found


def _cells(row: Row) -> list[str]:
    verdict = {True: "met", False: "**missed**", None: "not measured"}[row.met]
    return [row.what, row.target, row.measured, verdict]


def _tabulate_cases(results: Results, columns: dict[str, str]) -> str:
    measured = {(sample.case, sample.metric) for sample in results.samples}
    rows = []
    for case in results.cases():
        cells = [
            _number(results.median(case, metric)) if (case, metric) in measured else ""
            for metric in columns
        ]
        if any(cells):
            rows.append([case, *cells])
    return make_table(["case", *columns.values()], rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def make_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Pages in `docs/reports/`: a head written by hand, and parts that are made from result files.

A part stands between `<!-- measured: BENCH -->` and `<!-- end -->`: where its numbers come from,
its targets, its plot and its tables. A person writes the conclusions, and no number in a part.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.panels import Panel, draw
from benchmarks.reporting.tables import Table, make_table
from benchmarks.reporting.targets import Target, Verdict
from harness.results import PACKAGES, Results, read_results

DOCS = Path("docs/reports")
END = "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark's part of a page is made of."""

    bench: str  # as its result files are named
    page: str
    title: str
    targets: Sequence[Target] | Callable[[Results], Sequence[Target]]
    panels: Callable[[Results], Sequence[Panel]]
    tables: Sequence[Table]
    fault_metrics: tuple[str, ...] = ("errors", "wrong")
    images: Sequence[tuple[str, str]] = ()  # names and titles of what the benchmark itself draws

    def judge(self, results: Results) -> list[Verdict]:
        targets = self.targets(results) if callable(self.targets) else self.targets
        return [target.judge(results) for target in targets]


def write_report(report: Report, source: Path, folder: Path) -> Path:
    """Put the part made from the result file `source` into the page, and its plot beside it."""
    results = read_results(source)
    draw(report.panels(results), folder / "img" / f"{report.bench}.png")
    path = folder / f"{report.page}.md"
    text = path.read_text() if path.exists() else f"# {report.title}\n"
    path.write_text(replace_part(text, report.bench, render(report, results, source)))
    return path


def replace_part(text: str, bench: str, part: str) -> str:
    """The page with this part between its markers, at the end where it has none yet."""
    marker = f"<!-- measured: {bench} -->"
    if marker not in text:
        text = f"{text}\n{marker}\n{END}\n"
    pattern = f"{re.escape(marker)}\n.*?{re.escape(END)}"
    return re.sub(pattern, lambda _: f"{marker}\n\n{part}\n\n{END}", text, flags=re.DOTALL)


def render(report: Report, results: Results, source: Path) -> str:
    """The part as Markdown."""
    rows = [judged.cells() for judged in report.judge(results)]
    return "\n\n".join([
        describe_source(results, source),
        make_table(["what", "target", "measured", ""], rows),
        f"![{report.title}](img/{report.bench}.png)",
        *(f"![{title}](img/{name}.png)" for name, title in report.images),
        *filter(None, (table.render(results) for table in report.tables)),
    ])  # fmt: skip


def describe_source(results: Results, source: Path) -> str:
    facts = results.facts
    runs: dict[str, set[int]] = {}
    for sample in results.samples:
        runs.setdefault(sample.case, set()).add(sample.run)
    counts = sorted({len(of_case) for of_case in runs.values()})
    counted = f"{counts[0]} to {counts[-1]}" if counts[1:] else f"{counts[0]}"
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", *PACKAGES))
    return (
        f"Measured by `{facts['command']}` on {facts['date'][:10]}: {facts['cpu']}, "
        f"{facts['cores']} cores, load average {facts['load_average']} at the end; {versions}. "
        f"Medians of {counted} runs, [smallest–largest]. Samples: `{source}`."
    )

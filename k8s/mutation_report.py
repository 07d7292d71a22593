"""Measures the checks by faults put into the rendered objects, and writes the report's table."""

from collections import Counter
from pathlib import Path

from k8s.mutations import Score, make_mutants, measure
from k8s.rendering import OVERLAYS, render_overlay

REPORT = Path(__file__).parents[1] / "docs" / "reports" / "kubernetes.md"
START, END = "<!-- checked: manifests -->", "<!-- end -->"
TARGET = 0.95


def write_report() -> str:
    """Measure all overlays, write the table into the report, and return it."""
    scores = {name: measure(make_mutants(render_overlay(name))) for name in OVERLAYS}
    table = make_table(scores)
    text = REPORT.read_text()
    head, tail = text.split(START)[0], text.split(END, 1)[1]
    REPORT.write_text(f"{head}{START}\n\n{table}\n{END}{tail}")
    return table


def make_table(scores: dict[str, Score]) -> str:
    """Return the shares found by class and by overlay, and the list of what was not found."""
    made: Counter[str] = sum((score.made for score in scores.values()), Counter())
    found: Counter[str] = sum((score.found for score in scores.values()), Counter())
    by_schema: Counter[str] = sum((score.by_schema for score in scores.values()), Counter())
    share = found.total() / made.total()
    verdict = "met" if share >= TARGET else "**missed**"
    lines = [
        f"Found: {share:.1%} of {made.total():,} faults (target {TARGET:.0%}: {verdict}). The "
        f"schemas of Kubernetes alone find {by_schema.total() / made.total():.1%}.",
        "",
        "| class of field | faults | found | by the schemas alone |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {made[name]:,} | {found[name] / made[name]:.1%} "
            f"| {by_schema[name] / made[name]:.1%} |"
            for name in sorted(made)
        ),
        "",
        "| overlay | faults | found |",
        "| --- | --- | --- |",
    ]
    for name, score in scores.items():
        lines.append(f"| {name} | {score.made.total():,} | {score.share:.1%} |")
    missed = [f"* {name}: `{fault}`" for name, score in scores.items() for fault in score.missed]
    lines += ["", "Not found:", "", *missed] if missed else ["", "Every fault was found."]
    return "\n".join([*lines, ""])

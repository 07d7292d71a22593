"""Every metric that the documentation names, on a page whose counters grow with time."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitoring.metrics.counts import ROWS, SECONDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)

VALUES: Mapping[str, tuple[str, ...]] = {
    "route": ("fashion-mnist", "cifar10"),
    "exit": ("light", "large", "cache", "failed"),
    "stage": ("light", "large"),
    "stopped_by": ("confidence", "last_stage", "cache"),
    "result": ("ok", "StageFailed", "InvalidInput"),
    "account": ("rows", "overhead", "others", "idle"),
    "component": ("package", "dram"),
    "source": ("rapl",),
    "reason": ("timeout", "connection"),
    "operation": ("recall", "store"),
}


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: str
    labels: tuple[str, ...]

    def series(self) -> set[str]:
        """The names that its samples have."""
        if self.kind != "histogram":
            return {self.name}
        return {f"{self.name}_{part}" for part in ("bucket", "sum", "count")}


def read_families() -> dict[str, Family]:
    """What is documented."""
    return {
        name: Family(name, kind, tuple(re.findall(r"`(\w+)`", cell)))
        for name, kind, cell in ROW.findall(DOCUMENT.read_text())
    }


def render(families: Mapping[str, Family], age_s: float) -> str:
    """The page of a server that has run for so long."""
    lines: list[str] = []
    for family in families.values():
        lines.append(f"# TYPE {family.name} {family.kind}")
        values = [VALUES.get(label, (label,)) for label in family.labels]
        for number, labels in enumerate(itertools.product(*values), 1):
            pairs = dict(zip(family.labels, labels, strict=True))
            lines += _render_series(family, pairs, number * age_s)
    return "\n".join([*lines, ""])


def _render_series(family: Family, labels: Mapping[str, str], grown: float) -> Iterator[str]:
    if family.kind != "histogram":
        yield f"{family.name}{_write(labels)} {grown if family.kind == 'counter' else 1.0}"
        return
    bounds = [str(bound) for bound in (ROWS if family.name.endswith("_rows") else SECONDS)]
    for number, bound in enumerate([*bounds, "+Inf"], 1):
        yield f"{family.name}_bucket{_write({**labels, 'le': bound})} {number * grown}"
    yield f"{family.name}_sum{_write(labels)} {grown}"
    yield f"{family.name}_count{_write(labels)} {(len(bounds) + 1) * grown}"


def _write(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{pairs}}}"

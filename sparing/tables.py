"""Tables of routes and of predictions, and a progress bar, for the terminal."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from core.manifest import Manifest
from sparing.predicting import Prediction

FEW = 8  # steps; so few need no progress bar


def table_of_routes(manifests: Iterable[Manifest]) -> Table:
    """Make a table of the routes in directories."""
    table = _make_routes_table()
    for manifest in manifests:
        table.add_row(
            manifest.route,
            manifest.version,
            manifest.pipeline,
            manifest.task,
            "\n".join(
                _describe_stage(stage.name, stage.macs, stage.threshold, stage.precision)
                for stage in manifest.stages
            ),
            show_macs(manifest.expected_macs),
            manifest.certificate,
        )
    return table


def table_of_served(routes: Iterable[Mapping[str, Any]]) -> Table:
    """Make the same table of a server's routes, from the JSON of GET /v1/routes."""
    table = _make_routes_table()
    for route in routes:
        table.add_row(
            str(route["route"]),
            str(route["version"]),
            str(route["pipeline"]),
            str(route["task"]),
            "\n".join(
                _describe_stage(
                    stage["name"], stage["macs"], stage["threshold"], stage.get("precision")
                )
                for stage in route["stages"]
            ),
            show_macs(float(route["expected_macs"])),
            str(route["certificate"]),
        )
    return table


def table_of_predictions(predictions: Sequence[Prediction]) -> Table:
    names = ("picture", "label", "confidence", "exit", "stopped by", "MACs", "ms")
    table = Table(*(Column(name, overflow="fold") for name in names), box=None)
    for one in predictions:
        table.add_row(
            str(one.picture),
            one.label,
            f"{one.confidence:.3f}",
            one.exit,
            one.stopped_by,
            show_macs(one.macs),
            f"{one.latency_ms:.2f}",
        )
    return table


def _make_routes_table() -> Table:
    """Fold cells on a narrow terminal instead of cutting them; never fold a route's name."""
    names = ("pipeline", "task", "stages", "mean MACs", "certificate")
    return Table(
        Column("route", no_wrap=True),
        Column("version", overflow="fold"),
        *(Column(name, overflow="fold") for name in names),
        box=None,
    )


def _describe_stage(name: str, macs: float, threshold: float | None, precision: str | None) -> str:
    limit = "" if threshold is None else f", stops at {threshold:.3f}"
    runs = "" if precision is None else f", {precision}"
    return f"{name}: {show_macs(macs)}{limit}{runs}"


def show_macs(macs: float) -> str:
    """Format a count of MACs with a unit: 1234567 becomes `1.23 M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if macs >= size:
            return f"{macs / size:.2f} {unit}"
    return f"{macs:.0f}"


@contextmanager
def show_progress(total: int, what: str = "pictures") -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, where that is a terminal and there is more than a little to do.

    Gives a function that takes how many of `total` are done; the bar goes when all are.
    """
    console = Console(stderr=True)
    columns = (TextColumn(what), MofNCompleteColumn(), TimeRemainingColumn())
    disable = total <= FEW or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as bar:
        task = bar.add_task(what, total=total)

        def report(done: int) -> None:
            bar.update(task, completed=done)

        yield report

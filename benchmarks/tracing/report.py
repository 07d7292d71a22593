"""What tracing costs: targets and plot. The limits are ours."""

from collections.abc import Mapping

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import LOADS, Table, plain
from benchmarks.reporting.targets import FAULTS, Target, difference, ratio
from harness.results import Results

# The share of requests that is traced, as a case's name ends; None: tracing is off.
KINDS: Mapping[str, float | None] = {"off": None, "0.01": 0.01, "1": 1.0}
LABELS = {"off": "tracing off", "0.01": "one request in a hundred", "1": "every request"}
COMPARED = {
    "hit": "an answer from the cache, HTTP binary",
    "small-cnn-http": "a small CNN, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
    "picture": "a small CNN, a PNG over HTTP",
    "cascade": "the Fashion-MNIST cascade, HTTP binary",
}
TARGETS = (
    *(
        Target(f"CPU a request with one in a hundred traced, of tracing off's: {words}",
               ratio(f"{case}-0.01", f"{case}-off", "cpu_us"), 1.05, unit="×", digits=3)
        for case, words in COMPARED.items()
    ),
    *(
        Target(f"More CPU a request where every one is traced: {words}",
               difference(f"{case}-1", f"{case}-off", "cpu_us"), 250, unit="µs", digits=0)
        for case, words in COMPARED.items()
    ),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    series = {
        words: [results.median(f"{case}-{kind}", "cpu_us") for case in COMPARED]
        for kind, words in LABELS.items()
    }
    return [Bars("CPU of the server's process a request, µs", [*COMPARED.values()], series)]


COLUMNS = (*LOADS, *plain({"batches": "batches sent", "mb": "MB sent"}))
REPORT = Report("tracing", "tracing", "What tracing costs", TARGETS, draw, [Table(COLUMNS)])

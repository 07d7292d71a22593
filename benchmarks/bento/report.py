"""BentoML as a host: targets and plot."""

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, ratio
from harness.results import Results

HOSTS = {"sparing": "sparing serve", "bento": "bentoml serve"}  # as a case's name ends
COMPARED = {
    "hit": "an answer from the cache, HTTP binary",
    "hit-json": "an answer from the cache, HTTP JSON",
    "small-cnn-http": "a small CNN, HTTP binary",
    "picture": "a small CNN, a PNG over HTTP",
    "lone-http": "a lone request, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
}
TARGETS = (
    *(
        Target(f"CPU a request, of `sparing serve`'s: {words}",
               ratio(f"{case}-bento", f"{case}-sparing", "cpu_us"), 1.6, unit="×", digits=2)
        for case, words in COMPARED.items()
    ),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    series = {
        words: [results.median(f"{case}-{host}", "cpu_us") for case in COMPARED]
        for host, words in HOSTS.items()
    }
    return [Bars("CPU of the whole process tree a request, µs", [*COMPARED.values()], series)]


REPORT = Report("bento", "bento", "What BentoML costs as a host", TARGETS, draw, [Table(LOADS)])

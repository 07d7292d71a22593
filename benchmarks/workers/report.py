"""Two worker processes beside one: targets and plots. The limits are ours."""

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, ratio
from harness.results import Results

KINDS = {"1": "one process", "2": "2 workers"}  # as a case's name ends
COMPARED = {
    "hit": "an answer from the cache, HTTP binary",
    "small-cnn-http": "a small CNN, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
    "picture": "a small CNN, a PNG over HTTP",
    "lone-http": "a lone request, HTTP binary",
    "cascade": "the Fashion-MNIST cascade, HTTP binary",
    "large": "its large model, HTTP binary",
}
PLOTTED = {
    "cpu_us": "CPU of the whole process tree a request, µs",
    "requests_s": "requests/s, load generator on the same two cores",
}
TARGETS = (
    *(
        Target(f"CPU a request with two workers, of one's: {words}",
               ratio(f"{case}-2", f"{case}-1", "cpu_us"), 1.25, unit="×", digits=2)
        for case, words in COMPARED.items()
    ),
    Target("Requests/s with two workers, of one's: the large model",
           ratio("large-2", "large-1", "requests_s"), at_least=1.2, unit="×", digits=2),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    return [
        Bars(title, [*COMPARED.values()], {
            words: [results.median(f"{case}-{kind}", metric) for case in COMPARED]
            for kind, words in KINDS.items()
        })
        for metric, title in PLOTTED.items()
    ]  # fmt: skip


REPORT = Report(
    "workers", "workers", "What a second worker costs and brings", TARGETS, draw, [Table(LOADS)]
)

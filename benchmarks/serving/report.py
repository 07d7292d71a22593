"""What serving costs: targets and plots. Figures are set above those of bare servers."""

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, difference, each, ratio, value
from harness.results import Results

BASELINES = ("echo", "echo-json", "no-op-grpc", "lone-echo", "large")
RIVALS = ("cascade", "cascade-no-rebatch", "large")
TARGETS = (
    Target("HTTP binary, 32 connections, small CNN: CPU a request above an echo and the network",
           lambda r: (each(r, "small-cnn-http", "cpu_us") - each(r, "echo", "cpu_us")
                      - each(r, "onnx-batch-32", "cpu_us")), 45, unit="µs"),
    Target("Answer from the cache, HTTP binary: CPU a request above an echo",
           difference("hit", "echo", "cpu_us"), 25, unit="µs"),
    Target("Answer from the cache, HTTP JSON: CPU a request above a JSON echo",
           difference("hit-json", "echo-json", "cpu_us"), 60, unit="µs"),
    Target("gRPC unary, 32 calls, small CNN: CPU a request without the network, of a no-op's",
           lambda r: (each(r, "small-cnn-grpc", "cpu_us") - each(r, "onnx-batch-32", "cpu_us"))
           / each(r, "no-op-grpc", "cpu_us"), 1.6, unit="×", digits=2),
    Target("One lone request, HTTP binary: p50 above an echo and the network",
           lambda r: (each(r, "lone-http", "p50_ms") - each(r, "lone-echo", "p50_ms")
                      - each(r, "onnx-batch-1", "p50_ms")), 0.25, unit="ms", digits=3),
    Target("Cascade at 64 connections: requests/s, of the batched large model's",
           ratio("cascade", "large", "requests_s"), at_least=2, unit="×", digits=2),
    Target("Cascade at 64 connections: p99, of the batched large model's",
           ratio("cascade", "large", "p99_ms"), 1, unit="×", digits=2),
    Target("All metrics on the cascade: CPU, of that without",
           ratio("cascade", "cascade-no-metrics", "cpu_us"), 1.05, unit="×", digits=3),
    Target("All metrics on an answer from the cache: more CPU",
           difference("hit", "hit-no-metrics", "cpu_us"), 6, unit="µs"),
    Target("Start to ready", value("start", "ready_s"), 3, unit="s", digits=2),
    Target("Resident memory after load", value("start", "resident_mb"), 200, unit="MB"),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """CPU a request of every case; requests/s and p99 of the cascade beside its rivals."""
    loads = [s.case for s in results.samples if s.metric == "cpu_us" and "onnx" not in s.case]
    return [
        Bars(title, cases, {metric: [results.median(case, metric) for case in cases]}, digits,
             BASELINES)
        for cases, metric, title, digits in (
            ([*dict.fromkeys(loads)], "cpu_us", "CPU of the server a request, µs", 1),
            (RIVALS, "requests_s", "requests/s at 64 connections", 0),
            (RIVALS, "p99_ms", "p99 at 64 connections, ms", 1),
        )
    ]  # fmt: skip


REPORT = Report("serving", "serving", "What serving costs", TARGETS, draw, [Table(LOADS)])

"""The server's targets, and what was measured held against them, computed from the samples.

A number is the median over runs. Ratios and differences of two cases are taken run by run first, as
their runs are neighbours in time.
"""

from benchmarks.reporting.verdicts import Floats, Row, at_least, at_most, each, median
from harness.results import Results


def judge_serving(results: Results) -> list[Row]:
    """Every target of the server."""
    return [*_judge_doors(results), *_judge_cascade(results), *_judge_metrics(results),
            *_judge_process(results)]  # fmt: skip


def _judge_doors(results: Results) -> list[Row]:
    def cpu(case: str) -> Floats:
        return each(results, case, "cpu_us")

    def p50(case: str) -> Floats:
        return each(results, case, "p50_ms")

    echo, batched = cpu("echo"), cpu("onnx-batch-32")
    bare = f"echo {median(echo):.1f} µs"
    model = f"ONNX at batch 32 {median(batched):.1f} µs a row"
    no_op = cpu("no-op-grpc")
    echo_json = cpu("echo-json")
    lone_echo, lone_model = p50("lone-echo"), p50("onnx-batch-1")
    return [
        at_most("HTTP binary, 32 connections, small CNN: CPU a request", cpu("small-cnn-http"),
                 echo + batched + 45, "µs", f"{bare} + {model} + 45 µs"),
        at_most("Memory hit, HTTP binary: CPU a request", cpu("hit"), echo + 25, "µs",
                 f"{bare} + 25 µs"),
        at_most("Memory hit, HTTP JSON: CPU a request", cpu("hit-json"), echo_json + 60, "µs",
                 f"JSON echo {median(echo_json):.1f} µs + 60 µs"),
        at_most("gRPC unary, 32 calls, small CNN: CPU a request", cpu("small-cnn-grpc"),
                 1.6 * no_op + batched, "µs", f"1.6 × no-op {median(no_op):.1f} µs + {model}"),
        at_most("One lone request, HTTP binary: p50", p50("lone-http"),
                 lone_echo + lone_model + 0.25, "ms",
                 f"echo {median(lone_echo):.3f} ms + ONNX {median(lone_model):.3f} ms + 0.25 ms",
                 3),
    ]  # fmt: skip


def _judge_cascade(results: Results) -> list[Row]:
    speed, large, naive = (
        each(results, case, "requests_s") for case in ("cascade", "large", "cascade-no-rebatch")
    )
    gained = f"; without stage re-batching {median(naive):.0f}/s, {median(naive / large):.2f} ×"
    return [
        at_least("Cascade at 64 connections: requests/s, of the batched large model's",
                  speed / large, 2, "×",
                  f"{median(speed):.0f}/s against {median(large):.0f}/s{gained}", 2),
        at_most("Cascade at 64 connections: p99", each(results, "cascade", "p99_ms"),
                 each(results, "large", "p99_ms"), "ms", "the batched large model's"),
    ]  # fmt: skip


def _judge_metrics(results: Results) -> list[Row]:
    pairs = [
        (each(results, case, "cpu_us"), each(results, f"{case}-no-metrics", "cpu_us"))
        for case in ("cascade", "hit")
    ]
    (cascade, cascade_off), (hit, hit_off) = pairs
    why = [f"{median(on):.1f} µs with, {median(off):.1f} µs without" for on, off in pairs]
    return [
        at_most("All metrics on the cascade: more CPU", 100 * (cascade / cascade_off - 1), 5, "%",
                 why[0]),
        at_most("All metrics on a memory hit: more CPU", hit - hit_off, 6, "µs", why[1]),
    ]  # fmt: skip


def _judge_process(results: Results) -> list[Row]:
    ready, resident = (each(results, "start", metric) for metric in ("ready_s", "resident_mb"))
    return [
        at_most("Start to ready", ready, 3, "s", "from exec to the first 200 of /readyz", 2),
        at_most("Resident memory after load", resident, 200, "MB", "the largest of our servers"),
        at_most("Errors and wrong answers under load", [count_faults(results)], 0, "",
                 "every answer was compared with the right one", 0),
    ]  # fmt: skip


def count_faults(results: Results) -> float:
    return sum(s.value for s in results.samples if s.metric in ("errors", "wrong"))

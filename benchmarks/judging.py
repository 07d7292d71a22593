"""The targets, and what was measured held against them: one row each, computed from the samples.

A number is the median over runs. Ratios and differences of two cases are taken run by run first, as
their runs are neighbours in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.cases import CASCADE, LARGE
from benchmarks.results import Results

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One target. `met` is None where it could not be measured, and `why` says why."""

    what: str
    target: str
    measured: str
    met: bool | None
    why: str  # how target or measurement came about

    def sentence(self) -> str:
        if self.met is None:
            return f"{self.what}: not measured, {self.why}."
        verdict = "met" if self.met else "missed"
        return f"{self.what}: {self.measured}, target {self.target} ({self.why}): {verdict}."


def judge_serving(results: Results) -> list[Row]:
    """Every target of the server."""
    return [*_judge_doors(results), *_judge_cascade(results), *_judge_metrics(results),
            *_judge_process(results)]  # fmt: skip


def judge_dual_cnn(results: Results) -> list[Row]:
    """Every target of the shipped cascade, offline."""
    large, cascade = (results.median(route, "accuracy") * 100 for route in (LARGE, CASCADE))
    rows = [
        _at_least("Accuracy of the large model", [large], 93.3, "%", "on the test set", 2),
        _at_least("Accuracy of the cascade", [cascade], 93.0, "%", "on the test set", 2),
        _at_most("Accuracy lost by the cascade", [large - cascade], 0.3, "points",
                 f"{large:.2f} % − {cascade:.2f} %", 2),
    ]  # fmt: skip
    for what, metric in (("device time", "device_us_batch_32"), ("MACs", "macs")):
        share = 100 * _each(results, CASCADE, metric) / _each(results, LARGE, metric)
        rows.append(_at_most(f"Mean {what}, of the large model's", share, 20, "%",
                             _numbers(results, metric, CASCADE, LARGE)))  # fmt: skip
    return rows + [
        _judge_rival(results, what, metric)
        for what, metric in (("device time", "device_us_batch_32"), ("MACs", "macs"))
    ]


def find_rival(results: Results, metric: str) -> str | None:
    """The single net cheapest by `metric` with at least the cascade's accuracy; None: no pool."""
    nets = [case for case in results.cases() if case not in (CASCADE, LARGE)]
    if not nets:
        return None
    least = results.median(CASCADE, "accuracy")
    able = [net for net in (*nets, LARGE) if results.median(net, "accuracy") >= least]
    return min(able, key=lambda net: results.median(net, metric), default=None)


def _judge_rival(results: Results, what: str, metric: str) -> Row:
    name = f"Mean {what}, of the cheapest single net's with at least the cascade's accuracy"
    rival = find_rival(results, metric)
    if rival is None:
        return Row(name, "≤ 50 %", "–", None, "no pool of nets was given (--pool)")
    share = 100 * _each(results, CASCADE, metric) / _each(results, rival, metric)
    return _at_most(name, share, 50, "%", _numbers(results, metric, CASCADE, rival))


def _judge_doors(results: Results) -> list[Row]:
    def cpu(case: str) -> Floats:
        return _each(results, case, "cpu_us")

    def p50(case: str) -> Floats:
        return _each(results, case, "p50_ms")

    echo, batched = cpu("echo"), cpu("onnx-batch-32")
    bare = f"echo {_median(echo):.1f} µs"
    model = f"ONNX at batch 32 {_median(batched):.1f} µs a row"
    no_op = cpu("no-op-grpc")
    echo_json = cpu("echo-json")
    lone_echo, lone_model = p50("lone-echo"), p50("onnx-batch-1")
    return [
        _at_most("HTTP binary, 32 connections, small CNN: CPU a request", cpu("small-cnn-http"),
                 echo + batched + 45, "µs", f"{bare} + {model} + 45 µs"),
        _at_most("Memory hit, HTTP binary: CPU a request", cpu("hit"), echo + 25, "µs",
                 f"{bare} + 25 µs"),
        _at_most("Memory hit, HTTP JSON: CPU a request", cpu("hit-json"), echo_json + 60, "µs",
                 f"JSON echo {_median(echo_json):.1f} µs + 60 µs"),
        _at_most("gRPC unary, 32 calls, small CNN: CPU a request", cpu("small-cnn-grpc"),
                 1.6 * no_op + batched, "µs", f"1.6 × no-op {_median(no_op):.1f} µs + {model}"),
        _at_most("One lone request, HTTP binary: p50", p50("lone-http"),
                 lone_echo + lone_model + 0.25, "ms",
                 f"echo {_median(lone_echo):.3f} ms + ONNX {_median(lone_model):.3f} ms + 0.25 ms",
                 3),
    ]  # fmt: skip


def _judge_cascade(results: Results) -> list[Row]:
    speed, large, naive = (
        _each(results, case, "requests_s") for case in ("cascade", "large", "cascade-no-rebatch")
    )
    gained = f"; without stage re-batching {_median(naive):.0f}/s, {_median(naive / large):.2f} ×"
    return [
        _at_least("Cascade at 64 connections: requests/s, of the batched large model's",
                  speed / large, 2, "×",
                  f"{_median(speed):.0f}/s against {_median(large):.0f}/s{gained}", 2),
        _at_most("Cascade at 64 connections: p99", _each(results, "cascade", "p99_ms"),
                 _each(results, "large", "p99_ms"), "ms", "the batched large model's"),
    ]  # fmt: skip


def _judge_metrics(results: Results) -> list[Row]:
    pairs = [
        (_each(results, case, "cpu_us"), _each(results, f"{case}-no-metrics", "cpu_us"))
        for case in ("cascade", "hit")
    ]
    (cascade, cascade_off), (hit, hit_off) = pairs
    why = [f"{_median(on):.1f} µs with, {_median(off):.1f} µs without" for on, off in pairs]
    return [
        _at_most("All metrics on the cascade: more CPU", 100 * (cascade / cascade_off - 1), 5, "%",
                 why[0]),
        _at_most("All metrics on a memory hit: more CPU", hit - hit_off, 6, "µs", why[1]),
    ]  # fmt: skip


def _judge_process(results: Results) -> list[Row]:
    ready, resident = (_each(results, "start", metric) for metric in ("ready_s", "resident_mb"))
    return [
        _at_most("Start to ready", ready, 3, "s", "from exec to the first 200 of /readyz", 2),
        _at_most("Resident memory after load", resident, 200, "MB", "the largest of our servers"),
        _at_most("Errors and wrong answers under load", [count_faults(results)], 0, "",
                 "every answer was compared with the right one", 0),
    ]  # fmt: skip


def count_faults(results: Results) -> float:
    return sum(s.value for s in results.samples if s.metric in ("errors", "wrong"))


def _at_most(
    what: str, measured: Floats | Sequence[float], limit: Floats | float, unit: str, why: str,
    digits: int = 1,
) -> Row:  # fmt: skip
    bound = _median(limit)
    met = _median(measured) <= bound
    return Row(what, f"≤ {bound:.{digits}f}{_space(unit)}", _show(measured, unit, digits), met, why)


def _at_least(
    what: str, measured: Floats | Sequence[float], bound: float, unit: str, why: str, digits: int
) -> Row:
    met = _median(measured) >= bound
    return Row(what, f"≥ {bound:.{digits}f}{_space(unit)}", _show(measured, unit, digits), met, why)


def _show(values: Floats | Sequence[float], unit: str, digits: int) -> str:
    """The median, and the range over runs where there are several."""
    text = f"{_median(values):.{digits}f}{_space(unit)}"
    if len(values) > 1:
        text += f" [{min(values):.{digits}f}–{max(values):.{digits}f}]"
    return text


def _space(unit: str) -> str:
    return f" {unit}" if unit else ""


def _numbers(results: Results, metric: str, ours: str, other: str) -> str:
    unit, scale = ("MMACs", 1e6) if metric == "macs" else ("µs", 1.0)
    one, two = (results.median(case, metric) / scale for case in (ours, other))
    return f"{one:.3g} of {two:.3g} {unit} of {other}"


def _each(results: Results, case: str, metric: str) -> Floats:
    return np.array(results.values(case, metric))


def _median(values: Floats | Sequence[float] | float) -> float:
    return float(np.median(values))

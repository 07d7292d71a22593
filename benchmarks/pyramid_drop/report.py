"""What the report of fewer visual tokens is made of: targets, plots, tables. Needs no torch."""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.pyramid_drop.names import (
    ALONE,
    BASELINES,
    BATCHES,
    BIG_AVERAGES,
    BIG_PICTURES,
    BLIND,
    BUDGETS,
    COMMONEST,
    COUNTS_POINTS,
    FAMILIES,
    FRAGILE,
    FULL,
    PLAIN,
    PYRAMID,
    RATIOS,
    SHARES,
    STEP,
    STEP_DROPPING,
    THREADS,
    TRACES,
    TRAINED,
    TRAINED_DROPPING,
    WIDE,
    asked_as,
    big,
    prefill,
    served,
    setting,
    trained,
    wide,
)
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Curves, Panel
from benchmarks.reporting.tables import Column, Table, plain
from benchmarks.reporting.targets import FAULTS, Figure, Floats, Target, ratio, value
from harness.results import Results

UNTOUCHED = asked_as(PLAIN, FULL)


def above_blind(family: str) -> Figure:
    """Points above the better of the text-only twin and the commonest answer to each question."""

    def figure(results: Results) -> Floats:
        blind = max(results.median(case, family) for case in (BLIND, COMMONEST))
        return np.array([results.median(UNTOUCHED, family) - blind])

    return figure


def list_counted(results: Results) -> list[str]:
    """Families in which the untouched model is far enough above what needs no picture, the fragile
    one left out. KeyError without such families, or without the twin.
    """
    found = [
        family
        for family in FAMILIES
        if family != FRAGILE and above_blind(family)(results)[0] >= COUNTS_POINTS
    ]
    if not found:
        raise KeyError("no family counts")
    return found


def mean_below(model: str, share: float) -> Figure:
    """Points below the untouched model: the mean of the families that count."""

    def figure(results: Results) -> Floats:
        case = asked_as(model, setting(share, PYRAMID))
        below = [results.median(case, f"below_{one}") for one in list_counted(results)]
        return np.array([np.mean(below)])

    return figure


def worst_below(model: str, share: float) -> Figure:
    """The same of the worst of these families."""

    def figure(results: Results) -> Floats:
        case = asked_as(model, setting(share, PYRAMID))
        below = [results.median(case, f"below_{one}") for one in list_counted(results)]
        return np.array([max(below)])

    return figure


def least_lead(model: str, share: float, baselines: Sequence[str]) -> Figure:
    """Points above the best of these comparators, in the worst family that counts."""

    def figure(results: Results) -> Floats:
        own = asked_as(model, setting(share, PYRAMID))
        others = [asked_as(model, setting(share, name)) for name in baselines]
        leads = [
            results.median(own, family) - max(results.median(one, family) for one in others)
            for family in list_counted(results)
        ]
        return np.array([min(leads)])

    return figure


def worst(cases: Sequence[str], metric: str, *, largest: bool = False) -> Figure:
    """The metric, run by run, of the worst case."""
    choose = max if largest else min
    return lambda results: choose(
        (np.array(results.values(case, metric)) for case in cases), key=np.median
    )


def least_step(shape: str, threads: int) -> Figure:
    """By which factor the speed-up rises from an average to the next smaller one, at the worst."""
    return lambda results: rising(_list_averages(results, shape, threads))(results)


def rising(names: Sequence[str]) -> Figure:
    """By which factor the speed-up rises from one of these cases to the next, at the worst."""

    def figure(results: Results) -> Floats:
        speeds = [results.median(name, "speedup") for name in names]
        if len(speeds) < 2:
            raise KeyError(*names)
        return np.array([min(np.array(speeds[1:]) / speeds[:-1])])

    return figure


def list_targets(results: Results) -> Iterator[Target]:
    for family in FAMILIES:
        yield Target(f"{family}: points above what needs no picture, or it does not count",
                     above_blind(family), at_least=COUNTS_POINTS)  # fmt: skip
    mild, hard = SHARES
    for model in (BUDGETS, PLAIN):
        yield Target(f"{model}, {mild:.0%} of the visual tokens: points below the untouched model, "
                     "mean of the families that count", mean_below(model, mild), 0.5,
                     digits=2)  # fmt: skip
        case = asked_as(model, setting(mild, PYRAMID))
        yield Target(f"{model}, {mild:.0%}: points below, worst family that counts",
                     worst_below(model, mild), 0.5, digits=2)  # fmt: skip
        yield Target(f"{model}, {mild:.0%}: points below, {FRAGILE}",
                     value(case, f"below_{FRAGILE}"), 0.5, digits=2)  # fmt: skip
        yield Target(f"{model}, {mild:.0%}: points below itself without drops, all families but "
                     f"{FRAGILE}", value(case, "below_itself"), 0.5, digits=2)  # fmt: skip
    for model in (PLAIN, BUDGETS):
        for words, names in BASELINES.items():
            yield Target(f"{model}, {hard:.0%}: least lead over {words}",
                         least_lead(model, hard, names), at_least=0, digits=2)  # fmt: skip
    yield from _list_time_targets()
    yield Target("Training time saved by λ = 0.5",
                 lambda r: 100 * (1 - ratio(STEP_DROPPING, STEP, "step_ms")(r)), at_least=35,
                 unit="%")  # fmt: skip
    yield Target("Points below the model that was trained without drops",
                 value(TRAINED_DROPPING, trained("below")), 0.5, digits=2)  # fmt: skip
    for trace in TRACES:
        yield Target(f"Requests/s with {mild:.0%}, of the untouched model's, {trace} trace",
                     ratio(served(trace, f"{mild:.0%}"), served(trace, FULL), "requests_s"),
                     at_least=1.5, digits=2)  # fmt: skip
    yield Target("Requests/s of batches that rows join between tokens, of batches of one row",
                 ratio(served("code", FULL), served("code", ALONE), "requests_s"), at_least=2,
                 digits=2)  # fmt: skip
    if big(BIG_PICTURES[0], f"λ {RATIOS[0]:g}") in results.cases():
        yield from _list_big_targets()
    if any(sample.metric == "errors" for sample in results.samples):
        yield FAULTS


def _list_time_targets() -> Iterator[Target]:
    for threads in THREADS:
        words = "one thread" if threads == 1 else "two threads"
        for rows, limit in zip(BATCHES, (0.8, 0.95), strict=True):
            for seen, part in ((True, "decoder alone"), (False, "vision part too")):
                cases = [prefill(rows, one, threads, seen=seen) for one in RATIOS]
                yield Target(f"Speed-up of a prefill over that in MACs, batch of {rows}, {part}, "
                             f"{words}", worst(cases, "reached"), at_least=limit,
                             digits=2)  # fmt: skip
        for shape in WIDE:
            cases = [wide(shape, f"λ {one:g}", threads) for one in RATIOS]
            yield Target(f"Speed-up of a prefill over that in MACs, layers of {shape}, {words}",
                         worst(cases, "reached"),
                         at_least=0.92, digits=2)  # fmt: skip
            yield Target(f"Speed-up at each average number of tokens, of that at the next larger "
                         f"one, worst, {shape}, {words}",
                         least_step(shape, threads), at_least=1, digits=2)  # fmt: skip
    small = [prefill(rows, one, 1, seen=True) for rows in BATCHES for one in RATIOS]
    yield Target("Scoring, of a prefill's time, small model, one thread",
                 worst(small, "scoring", largest=True), 1, unit="%", digits=2)  # fmt: skip
    layers = [wide(shape, f"λ {one:g}", 1) for shape in WIDE for one in RATIOS]
    yield Target("Scoring, of a prefill's time, wide layers, one thread",
                 worst(layers, "scoring", largest=True), 1, unit="%", digits=2)  # fmt: skip
    yield Target("Peak memory of a prefill, λ = 0.5, of the untouched model's",
                 ratio("memory, λ 0.5", f"memory, {FULL}", "peak_mb"), 1, digits=2)  # fmt: skip


def _list_big_targets() -> Iterator[Target]:
    """On an accelerator."""
    cases = [big(count, f"λ {ratio:g}") for count in BIG_PICTURES for ratio in RATIOS]
    yield Target("Accelerator: speed-up of a prefill over that in MACs", worst(cases, "reached"),
                 at_least=0.85, digits=2)  # fmt: skip
    for count in BIG_PICTURES:
        names = [big(count, f"{average} tokens") for average in BIG_AVERAGES]
        yield Target(f"Accelerator: speed-up at each average number of tokens, of that at the next "
                     f"larger one, worst, {576 * count} visual tokens", rising(names),
                     at_least=1, digits=2)  # fmt: skip
    yield Target("Accelerator: scoring, of a prefill's time", worst(cases, "scoring", largest=True),
                 1, unit="%", digits=2)  # fmt: skip
    yield Target("Accelerator: share of the bytes of keys and values, less the computed one",
                 worst(cases, "keys_values_error", largest=True), 0.01, digits=3)  # fmt: skip


def _list_averages(results: Results, shape: str, threads: int) -> list[str]:
    """The cases of one shape with an average of tokens, from many to few."""
    start, end = f"{shape}, ", wide("", " tokens", threads).removeprefix(", ")
    found = [case for case in results.cases() if case.startswith(start) and case.endswith(end)]
    return sorted(found, key=lambda case: -int(case.removeprefix(start).removesuffix(end)))


def draw(results: Results) -> list[Panel]:
    judged = {one.case for one in results.samples if one.metric == FAMILIES[0]}
    names = {UNTOUCHED: "untouched", BLIND: BLIND, COMMONEST: COMMONEST}
    for share in SHARES:
        names[asked_as(BUDGETS, setting(share, PYRAMID))] = f"{share:.0%} of visual tokens"
    shown = {words: [results.median(case, one) for one in FAMILIES]
             for case, words in names.items() if case in judged}  # fmt: skip
    panels: list[Panel] = []
    if shown:
        panels.append(Bars("right answers, %", FAMILIES, shown))
    speeds = {}
    for rows in BATCHES:
        cases = [prefill(rows, one, 1, seen=True) for one in RATIOS]
        speeds[f"small model, batch of {rows}"] = _list_speeds(results, cases)
    for shape in WIDE:
        measured = [case for case in results.cases() if case.startswith(f"{shape}, ")]
        cases = [case for case in measured if case.endswith("1 thread")]
        speeds[shape] = _list_speeds(results, cases)
    speeds = {name: points for name, points in speeds.items() if points}
    if speeds:
        series = {"as its MACs": [(1.0, 1.0), (4.5, 4.5)], **speeds}
        panels.append(Curves("prefill, decoder alone, one thread", "MACs saved, times",
                             "time saved, times", series))  # fmt: skip
    return panels


def _list_speeds(results: Results, cases: Sequence[str]) -> list[tuple[float, float]]:
    return sorted(
        (results.median(case, "macs_speedup"), results.median(case, "speedup"))
        for case in cases
        if case in results.cases()
    )


_LOAD = plain({
    "requests_s": "requests/s",
    "first_p50_ms": "first token p50 ms",
    "first_p99_ms": "p99 ms",
    "decode_p50_ms": "decode p50 ms",
    "p50_ms": "whole answer p50 ms",
    "tokens_s": "tokens/s",
    "prefill_share": "prefill, % of stages' time",
})  # fmt: skip
TABLES = (
    Table(
        (
            Column("visual tokens", ("visual_tokens",), digits=1),
            Column("MMACs of a prefill", ("mmacs",), digits=0),
            *(Column(family, (family,), digits=1) for family in FAMILIES),
            Column("as the full model, %", ("agreement",), 100, 1),
        ),
        "Right answers in %, by family of questions:",
    ),
    Table(
        (
            *(Column(family, (f"below_{family}",), digits=1) for family in FAMILIES),
            Column(f"all but {FRAGILE}", ("below_all",), digits=2),
            Column("±", ("margin_all",), digits=2),
            Column("below itself without drops", ("below_itself",), digits=2),
        ),
        "Points below the untouched model, which was trained without drops and is asked without "
        "any. ± is half of the 95 % interval, paired by question:",
    ),
    Table(
        (
            Column("untouched, µs a row", ("full_us",), digits=0),
            Column("dropping, µs a row", ("dropped_us",), digits=0),
            Column("speed-up", ("speedup",), digits=2),
            Column("MACs saved, times", ("macs_speedup",), digits=2),
            Column("reached", ("reached",), digits=2),
            Column("scoring, %", ("scoring",), digits=2),
        ),
        "Prefill. One thread: CPU time; two threads: time that passed. Wide layers have random "
        "weights, 576 visual tokens and 64 of text, one prompt:",
    ),
    Table(
        (
            Column("grows by, MB", ("peak_mb",), digits=0),
            Column("keys and values, MB", ("keys_values_mb",), digits=1),
        ),
        "Memory of a prefill of 64 rows:",
    ),
    Table(
        (Column("CPU ms", ("step_ms",), digits=0),),
        "A step of training, short curriculum, 16 pictures with 2 questions, one thread:",
    ),
    Table(
        (
            *(Column(family, (trained(family),), digits=1) for family in FAMILIES),
            Column("points below", (trained("below"),), digits=2),
            Column("±", (trained("margin"),), digits=2),
        ),
        "Right answers of both models of the short curriculum, each under its own schedule:",
        {TRAINED: "without drops", TRAINED_DROPPING: "λ = 0.5"},
    ),
    Table(
        _LOAD,
        "Chats through the server, streamed, 32 connections, in turns on the same server:",
    ),
)

REPORT = Report(
    "pyramid_drop",
    "pyramiddrop",
    "PyramidDrop: answers and time with fewer visual tokens",
    lambda results: list(list_targets(results)),
    draw,
    TABLES,
    fault_metrics=("errors",),
)

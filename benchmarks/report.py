"""`python -m benchmarks.report`: the reports in `docs/reports/`, computed from the newest results.

A report is a table of targets, a plot, a table of everything measured and one sentence a target. No
number in it is written by hand; to change one, measure again. What concerns memory are parts of one
page, each measured by a benchmark of its own.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import (
    bento_report,
    compare_report,
    dual_cnn_report,
    duplicates_report,
    energy_report,
    eviction_report,
    exits_report,
    gathering_report,
    remote_report,
    similar_report,
    tracing_report,
    workers_report,
)
from benchmarks.choice import describe_choice, weigh_beside
from benchmarks.judging import judge_serving
from benchmarks.plots import plot_serving
from benchmarks.rendering import Report, render
from benchmarks.results import FOLDER, find_newest, read_results

DOCS = Path("docs/reports")
SERVING_COLUMNS = {
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "ready_s": "ready s",
    "resident_mb": "resident MB",
}


def _dual_cnn(data: str) -> Report:
    return Report(
        f"What the cascade saves on {data}",
        "The whole test set, without a server. Device time is CPU time inside the stages, on "
        "one thread, in batches; nets of the pool are timed bare, which favours them.",
        dual_cnn_report.judge_dual_cnn,
        dual_cnn_report.plot_dual_cnn,
        dual_cnn_report.COLUMNS,
        (describe_choice,),
    )


def _duplicates(data: str) -> Report:
    return Report(
        f"What memory adds where pictures of {data} repeat",
        "The paper's experiment through the real server: a share of the test pictures comes a "
        "second time, shuffled among the others, as it is or turned. Every system answers the "
        "same requests once, from a cold start, in turns; 64 connections but for `one by one`. "
        "Device time is wall time inside the stages by the server's own count, a picture.",
        duplicates_report.judge_duplicates,
        duplicates_report.plot_duplicates,
        duplicates_report.COLUMNS,
        (duplicates_report.beside_the_paper, weigh_beside(data)),
    )


REPORTS = {
    "serving": Report(
        "What serving costs",
        "Each case got closed-loop load from a process of its own, in turns with its baselines. "
        "CPU is that of the server's whole process tree. Load generator and servers share the "
        "machine, so "
        "requests/s are lower than the server alone could do; CPU a request is the robust figure. "
        "Cases: `hit` is one picture again and again, from memory; `lone` one request at a time; "
        "`small-cnn` a network of 0.4 MMACs, memory off; `cascade` and `large` the shipped routes, "
        "real test pictures, memory off; `echo` and `no-op` the same stack doing nothing.",
        judge_serving,
        plot_serving,
        SERVING_COLUMNS,
    ),
    "dual_cnn": _dual_cnn("fashion-mnist"),
    "dual_cnn_cifar10": _dual_cnn("cifar10"),
    "bento": Report(
        "What BentoML costs as a host",
        "The same server inside `bentoml serve` and under `sparing serve`, each case on both right "
        "after one another, with closed-loop load from a process of its own, 32 requests at a time "
        "(`lone`: one). CPU is that of the whole process tree; it is what can be compared, as the "
        "load generator shares the machine. `hit` is one picture again and again, from memory; "
        "`small-cnn` and `picture` a network of 0.4 MMACs, memory off. `picture` and whatever else "
        "is not a small infer request goes through the host's ASGI server.",
        bento_report.judge_bento,
        bento_report.plot_bento,
        bento_report.COLUMNS,
    ),
    "duplicates_cifar10": _duplicates("cifar10"),
    "duplicates_fashion-mnist": _duplicates("fashion-mnist"),
    "similar": Report(
        "What answers shared between pictures that look alike are worth",
        "Every test picture of Fashion-MNIST once and a near-duplicate of each, shuffled, the "
        "shipped cascade's answers; without a server. Audits: deliberately broken sketches on the "
        "same pictures, and tiers simulated to be wrong at a fixed rate, `inf` where some were "
        "not found within 100,000 hits. CPU a picture is that of asking and learning, in batches "
        "of 32.",
        similar_report.judge_similar,
        similar_report.plot_similar,
        similar_report.COLUMNS,
        (similar_report.explain_similar,),
    ),
    "eviction": Report(
        "Who leaves first",
        "Hit rates on streams of keys, without a server. Every miss is computed and offered to "
        "memory. Zipf: independent requests, the picture of rank r asked for like 1/r; the others "
        "are the block ids of the Mooncake traces, with room for that share of the different ones.",
        eviction_report.judge_eviction,
        eviction_report.plot_eviction,
        eviction_report.COLUMNS,
        (eviction_report.explain_eviction,),
    ),
    "remote": Report(
        "What processes share",
        "The second tier in a real Redis. Keys: batches of 64, answers with ten probabilities. Hit "
        "rates: two processes, each with room for one in a hundred of a trace's block ids, answer "
        "its requests in turns. Faults: while 4 connections ask the server for pictures that Redis "
        "has, its first tier without room; latencies count from when the fault is there, and right "
        "before a server without a second tier answers the same requests.",
        remote_report.judge_remote,
        remote_report.plot_remote,
        remote_report.COLUMNS,
    ),
    "energy": Report(
        "Whose joules",
        "The ledger against a counter of the benchmark's own, which grows with the CPU time really "
        "used (10 W, and 5 W a busy core): so the right sums are known. Its cost: servers with and "
        "without a meter in turns. Joules a picture: steady load on the shipped routes, told by "
        "the machine's own meter where it has one, else by the model with its default watts, which "
        "is CPU time by another name.",
        energy_report.judge_energy,
        energy_report.plot_energy,
        energy_report.COLUMNS,
    ),
    "tracing": Report(
        "What tracing costs",
        "The same server with tracing off, with one request in a hundred followed and with every "
        "one, each case on all three right after one another, with closed-loop load from a process "
        "of its own, 32 requests at a time (cascade: 64). CPU is that of the server's process, the "
        "thread that sends spans included. The collector throws away what it gets; it shares the "
        "machine, as does the load generator. Where spans come faster than they can be sent, "
        "traces are dropped.",
        tracing_report.judge_tracing,
        tracing_report.plot_tracing,
        tracing_report.COLUMNS,
    ),
    **{f"compare_{data}": compare_report.make_report(data) for data in compare_report.DATA},
    "exits": Report(
        "What early exits are worth when survivors are batched again",
        "The shipped large net of Fashion-MNIST, and the same net with two exits, its own weights "
        "untouched, answer the same test pictures through the real server in turns: memory off, 64 "
        "connections, load from a process of its own on the same machine. Device time is wall time "
        "inside the stages by the server's own count, a picture.",
        exits_report.judge_exits,
        exits_report.plot_exits,
        exits_report.COLUMNS,
        (exits_report.explain_exits,),
    ),
    "gathering": Report(
        "What it is worth that few survivors wait for company",
        "One server that gathers survivors (`engine.gather_s`) and one that takes rows in order of "
        "arrival alone, in turns, memory off; the shipped adaptive routes of Fashion-MNIST, all "
        "test pictures. `many`: 64 at a time, one a request; `bulk`: 8 requests of 32 at a time. "
        "CPU is that of the server's whole process tree, device time CPU time inside the stages.",
        gathering_report.judge_gathering,
        gathering_report.plot_gathering,
        gathering_report.COLUMNS,
    ),
    "workers": Report(
        "What a second worker costs and brings",
        "`sparing serve --workers 2` and one process, each case on both right after one another, "
        "with closed-loop load from a process of its own over 32 connections (`lone`: one, cascade "
        "and large model: 64; gRPC: 32 calls at a time over 8 connections, since a connection "
        "stays with one worker). CPU is that of the whole process tree. Load generator and servers "
        "share the machine's two cores; one process uses about one of them.",
        workers_report.judge_workers,
        workers_report.plot_workers,
        workers_report.COLUMNS,
    ),
}


@dataclass(frozen=True, slots=True)
class Page:
    """Reports that are parts of one page, in this order."""

    title: str
    parts: tuple[str, ...]


PAGES = {
    "cache": Page("What the cache does", ("eviction", "remote")),
    "cbnet": Page(
        "Converters and early exits, compared",
        tuple(f"compare_{data}" for data in compare_report.DATA),
    ),
}


def main() -> None:
    for bench in REPORTS:
        try:
            print(write_report(bench, find_newest(bench, FOLDER), DOCS))
        except FileNotFoundError as error:
            print(error, file=sys.stderr)


def write_report(bench: str, results_path: Path, folder: Path) -> Path:
    """Write `<folder>/<bench>.md` and its picture from a result file; returns the report. A part of
    a page is written with the newest of the others that lie beside the file.
    """
    for name, page in PAGES.items():
        if bench in page.parts:
            return _write_page(name, page, {bench: results_path}, results_path.parent, folder)
    report, results = REPORTS[bench], read_results(results_path)
    report.plot(results, folder / "img" / f"{bench}.png")
    path = folder / f"{bench}.md"
    path.write_text(render(bench, report, results, results_path))
    return path


def _write_page(name: str, page: Page, given: dict[str, Path], results: Path, folder: Path) -> Path:
    found = {part: given.get(part) or _find(part, results) for part in page.parts}
    texts = []
    for bench, source in found.items():
        if source is not None:
            report, measured = REPORTS[bench], read_results(source)
            report.plot(measured, folder / "img" / f"{bench}.png")
            text = render(bench, report, measured, source)
            texts.append(re.sub("^#", "##", text, flags=re.MULTILINE))
    path = folder / f"{name}.md"
    path.write_text("\n".join([f"# {page.title}\n", *texts]))
    return path


def _find(bench: str, folder: Path) -> Path | None:
    try:
        return find_newest(bench, folder)
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()

"""`python -m benchmarks.energy`: is the ledger right, what does it cost, what do routes take.

This machine may have no meter, so the checks of the ledger read a counter driven by the CPU time
really used, whose truth is known (`fake_rapl`). What the shipped routes take is from the
machine's own meter if it has one that may be read, else from the model with its default watts;
which one is in the samples.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.ledger import ask, make_case, measure_truth
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target, difference, ratio
from benchmarks.serving import cases as case_list
from benchmarks.serving.measure import gather_models, run_load
from harness.load.traffic import Pictures
from harness.results import Results, Sample
from harness.servers import Server, count_spent, read_metrics, run_servers, run_sparing
from harness.services.fake_rapl import FakeRapl
from training.data.sets import load_data

PICTURES = 2000
ROUNDS = 6
CONNECTIONS = 16
NO_CACHE = "[cache]\nenabled = false\n"
# Space for a few hundred answers: a picture's second time, right behind it, is a hit, the next
# round's is not.
FORGETFUL = "[cache]\nlimit_bytes = 400000\n"
# The model's default watts, where the machine has no meter.
MODEL_SETTINGS = "[energy.model]\nidle_w = 5.0\nbusy_core_w = 4.0\ndram_w = 3.0\n"
SOURCES = ("none", "rapl", "nvml", "ina3221", "pmic", "model")  # as numbers in the samples
LARGE, DUAL, MEMORY = "CIFAR-10, large", "CIFAR-10, dual", "CIFAR-10, dual + memory, each twice"
GREY_LARGE, GREY_DUAL, EXITS = (
    f"Fashion-MNIST, {name}" for name in ("large", "dual", "early exits")
)
COMPARED = {DUAL: LARGE, MEMORY: LARGE, GREY_DUAL: GREY_LARGE, EXITS: GREY_LARGE}
METRICS = {"mj": "idle aside", "mj_with_idle": "idle included"}
CASES = ("mixed load", "kill and restart", "busy neighbour", "two routes", "meter off", "meter on",
         LARGE, DUAL, MEMORY, GREY_LARGE, GREY_DUAL, EXITS)  # fmt: skip
COLUMNS = plain({
    "accounts_of_meter": "accounts / meter",
    "meter_of_truth": "meter / truth",
    "accounts_of_truth": "accounts / truth",
    "rows_of_account": "rows / their account",
    "billed_of_neighbour": "billed of the neighbour's",
    "cascade_share_of_right": "cascade's share / right one",
    "large_share_of_right": "large model's share / right one",
    "idle_cpu_percent": "CPU when idle, %",
    "cpu_us": "CPU µs",
    "mj": "mJ/picture",
    "mj_with_idle": "mJ/picture with idle",
    "rows": "pictures",
})  # fmt: skip


def _one(find: Callable[[Results], float]) -> Figure:
    """A single figure in per cent, either way."""
    return lambda results: np.array([100 * abs(find(results))])


def _off(case: str, *metrics: str) -> Figure:
    """How far from 1, the worst of them."""
    return _one(lambda r: max(abs(r.median(case, metric) - 1) for metric in metrics))


TARGETS = (
    Target("Four accounts off the meter, mixed load", _off("mixed load", "accounts_of_meter"),
           0.1, unit="%", digits=3),
    Target("The meter as it was read, off the truth, mixed load",
           _off("mixed load", "meter_of_truth"), 0.5, unit="%", digits=3),
    Target("The accounts across a kill and restart, off the truth",
           _off("kill and restart", "accounts_of_truth"), 1, unit="%", digits=2),
    Target("A busy neighbour's joules that are billed to requests",
           _one(lambda r: r.median("busy neighbour", "billed_of_neighbour")), 3, unit="%",
           digits=2),
    Target("A route's share of two that run together, off what it takes alone",
           _off("two routes", "cascade_share_of_right", "large_share_of_right"), 5, unit="%",
           digits=2),
    Target("Sampler and ledger, an idle server",
           difference("meter on", "meter off", "idle_cpu_percent"), 1, unit="% of a core",
           digits=2),
    *(
        Target(f"Energy a picture of the large model's, {words}: {case}",
               ratio(case, large, metric, 100), 25, unit="%")
        for case, large in COMPARED.items()
        for metric, words in METRICS.items()
    ),
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """Where the joules of the mixed load went, and what a picture takes."""
    accounts = ("rows", "overhead", "others", "idle")
    cases = CASES[-6:]
    source = SOURCES[int(results.median(LARGE, "source"))]
    return [
        Bars("accounts of the joules under mixed load, %", accounts, {
            "share": [100 * results.median("mixed load", f"{name}_share") for name in accounts]
        }),
        Bars(f"mJ a picture, by the meter `{source}`", cases, {
            words: [results.median(case, metric) for case in cases]
            for metric, words in reversed(METRICS.items())
        }, 1),
    ]  # fmt: skip


TABLE = Table(COLUMNS, cases={case: case for case in CASES})
REPORT = Report("energy", "energy", "Is the energy ledger right?", TARGETS, draw, [TABLE])


def measure_energy(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    grey = load_data("fashion-mnist").test.pictures[:PICTURES]
    colour = load_data("cifar10").test.pictures[:PICTURES]
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        work = Path(folder)
        served = gather_models(options.models, work)
        yield from measure_truth(served, grey, work, options.seconds, console)
        yield from measure_cost(served, work, options.seconds / 12, console)
        yield from measure_claim(options, colour, grey, work, console)


def measure_cost(served: Path, work: Path, seconds: float, console: Console) -> Iterator[Sample]:
    """CPU of a server with and without a meter, idle and under load, in turns."""
    with FakeRapl(work / "sys-cost", 10.0, 5.0) as meter:
        settings = {
            "meter off": f'{NO_CACHE}[energy]\nsource = "none"\n',
            "meter on": f'{NO_CACHE}[energy]\nsysfs = "{meter.root}"\n',
        }
        with run_servers(served, settings, work) as servers:
            plain = dict.fromkeys(("no-memory", "default"), servers["meter off"])
            case = case_list.build_http_cases(plain, served)[0]
            for run in range(ROUNDS):
                for name in servers if run % 2 == 0 else reversed(servers):
                    with count_spent(servers[name], {}) as spent:
                        time.sleep(seconds)
                    idle = 100 * spent["cpu_s"] / seconds
                    cpu_us = run_load(case, servers[name], work, seconds)["cpu_us"]
                    console.print(f"run {run + 1} {name}: idle {idle:.2f} %, {cpu_us:.1f} µs")
                    yield Sample(name, run, "idle_cpu_percent", idle)
                    yield Sample(name, run, "cpu_us", cpu_us)


def measure_claim(
    options: argparse.Namespace, colour: Pictures, grey: Pictures, work: Path, console: Console
) -> Iterator[Sample]:
    """Joules a picture of each system under steady load, with and without the idle machine's."""
    twice = np.repeat(colour, 2, axis=0)
    settings = work / "claim.toml"
    for case, route, asked, memory in (
        (LARGE, "cifar10-large", colour, NO_CACHE),
        (DUAL, "cifar10", colour, NO_CACHE),
        (MEMORY, "cifar10", twice, FORGETFUL),
        (GREY_LARGE, "fashion-mnist-large", grey, NO_CACHE),
        (GREY_DUAL, "fashion-mnist", grey, NO_CACHE),
        (EXITS, "fashion-mnist-exits", grey, NO_CACHE),
    ):
        settings.write_text(memory + MODEL_SETTINGS)
        with run_sparing(options.models, settings) as server:
            traffic = make_case(f"{case} of {route}", route, asked, CONNECTIONS)
            found = ask(server, [traffic], work, options.seconds)
            source = read_source(server)
        rows, own_j = found["pictures"], found["rows"] + found["overhead"]
        numbers = {
            "mj": own_j / rows * 1e3,
            "mj_with_idle": (own_j + found["idle"]) / rows * 1e3,
            "cpu_us": found["cpu_s"] / rows * 1e6,
            "rows": rows,
            "source": SOURCES.index(source),
        }
        console.print(f"{case}: {numbers['mj']:.2f} mJ a picture by {source}, {rows:.0f} pictures")
        yield from (Sample(case, 0, name, value) for name, value in numbers.items())


def read_source(server: Server) -> str:
    """Which meter gives the joules; `none` where none does."""
    for name, labels, _ in read_metrics(server.http_port):
        if name == "sparing_energy_meter_joules_total":
            return labels["source"]
    return "none"


if __name__ == "__main__":
    parser = make_parser(__doc__, runs=None, seconds=60.0)
    run_benchmark(parser, measure_energy, REPORT, seconds=6.0)

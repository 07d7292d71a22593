"""The seeds' claim in joules a picture: the large model, the cascade, the cascade with memory, and
early exits.

Steady load from 16 connections; with memory each picture comes twice, as in the paper's experiment.
The machine's own meter tells the joules where it has one that may be read, else the model with its
default watts; which one is in the samples.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.energy_reading import load, make_case, read_energy
from benchmarks.energy_report import DUAL, EXITS, GREY_DUAL, GREY_LARGE, LARGE, MEMORY, SOURCES
from benchmarks.process_tree import read_cpu_s
from benchmarks.results import Sample
from benchmarks.servers import read_metrics, run_sparing
from benchmarks.traffic import Pictures
from monitoring.energy.meters.model import Watts

CONNECTIONS = 16
# Room for a few hundred answers: a picture's second time, right behind it, is a hit, the next
# round's is not.
FORGETFUL = "[cache]\nlimit_bytes = 400000\n"


def measure_claim(
    models: Path,
    colour: Pictures,
    grey: Pictures,
    work: Path,
    seconds: float,
    console: Console,
) -> Iterator[Sample]:
    """Joules a picture with and without the idle machine's, CPU, and who told."""
    twice = np.repeat(colour, 2, axis=0)
    watts = Watts(5.0, 4.0, 3.0)
    energy = (
        f"[energy.model]\nidle_w = {watts.idle_w}\nbusy_core_w = {watts.busy_core_w}\n"
        f"dram_w = {watts.dram_w}\n"
    )
    off = "[cache]\nenabled = false\n"
    for case, route, asked, memory in (
        (LARGE, "cifar10-large", colour, off),
        (DUAL, "cifar10", colour, off),
        (MEMORY, "cifar10", twice, FORGETFUL),
        (GREY_LARGE, "fashion-mnist-large", grey, off),
        (GREY_DUAL, "fashion-mnist", grey, off),
        (EXITS, "fashion-mnist-exits", grey, off),
    ):
        settings = work / "claim.toml"
        settings.write_text(memory + energy)
        with run_sparing(models, settings) as server:
            time.sleep(0.3)
            before, cpu_s = read_energy(server), read_cpu_s(server.pid)
            traffic = make_case(f"{case} of {route}", route, asked, CONNECTIONS)
            load(server, [traffic], work, seconds)
            time.sleep(0.3)
            found, cpu_s = read_energy(server).since(before), read_cpu_s(server.pid) - cpu_s
            source = next(
                labels["source"]
                for name, labels, _ in read_metrics(server.http_port)
                if name == "sparing_energy_meter_joules_total"
            )
        rows = found.rows[route]
        own_j = found.accounts["rows"] + found.accounts["overhead"]
        numbers = {
            "mj": own_j / rows * 1e3,
            "mj_with_idle": (own_j + found.accounts["idle"]) / rows * 1e3,
            "cpu_us": cpu_s / rows * 1e6,
            "rows": rows,
            "source": SOURCES.index(source),
        }
        console.print(f"{case}: {numbers['mj']:.2f} mJ a picture by {source}, {rows:.0f} pictures")
        yield from (Sample(case, 0, name, value) for name, value in numbers.items())

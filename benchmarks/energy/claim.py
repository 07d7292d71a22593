"""Joules a picture: the large model, the cascade, the cascade with the cache, and early exits.

Steady load from 16 connections; with the cache each picture comes twice, as in the paper's
experiment. The joules are from the machine's own meter where it has one that may be read, else from
the model with its default watts; which one is in the samples.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.energy.reading import MODEL_SETTINGS, load, make_case, read_energy, read_source
from benchmarks.energy.report import DUAL, EXITS, GREY_DUAL, GREY_LARGE, LARGE, MEMORY, SOURCES
from harness.load.traffic import Pictures
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.servers import run_sparing

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
    """Joules a picture with and without the idle machine's, CPU, and which meter gave them."""
    twice = np.repeat(colour, 2, axis=0)
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
        settings.write_text(memory + MODEL_SETTINGS)
        with run_sparing(models, settings) as server:
            time.sleep(0.3)
            before, cpu_s = read_energy(server), read_cpu_s(server.pid)
            traffic = make_case(f"{case} of {route}", route, asked, CONNECTIONS)
            load(server, [traffic], work, seconds)
            time.sleep(0.3)
            found, cpu_s = read_energy(server).since(before), read_cpu_s(server.pid) - cpu_s
            source = read_source(server)
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

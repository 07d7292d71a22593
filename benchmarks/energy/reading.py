"""What a server says of joules, rows and seconds, as plain numbers; and load for a while."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.cases import Case
from benchmarks.serving.measure import run_load
from harness.load.traffic import Pictures, Traffic, pack_binary
from harness.servers import Server, read_metrics

# The model's default watts, where the machine has no meter.
MODEL_SETTINGS = "[energy.model]\nidle_w = 5.0\nbusy_core_w = 4.0\ndram_w = 3.0\n"


@dataclass(frozen=True, slots=True)
class Reading:
    """All so far."""

    accounts: dict[str, float]
    meter_j: float
    rows_j: dict[str, float]  # by route
    rows: dict[str, float]

    def since(self, before: "Reading") -> "Reading":
        def less(after: dict[str, float], other: dict[str, float]) -> dict[str, float]:
            return {name: value - other.get(name, 0.0) for name, value in after.items()}

        return Reading(
            less(self.accounts, before.accounts),
            self.meter_j - before.meter_j,
            less(self.rows_j, before.rows_j),
            less(self.rows, before.rows),
        )


def read_energy(server: Server) -> Reading:
    found = Reading({}, 0.0, {}, {})
    meter_j = 0.0
    for name, labels, value in read_metrics(server.http_port):
        if name == "sparing_energy_account_joules_total":
            account = labels["account"]
            found.accounts[account] = found.accounts.get(account, 0.0) + value
        elif name == "sparing_energy_meter_joules_total":
            meter_j += value
        elif name == "sparing_energy_joules_total":
            route = labels["route"]
            found.rows_j[route] = found.rows_j.get(route, 0.0) + value
        elif name == "sparing_rows_total":
            route = labels["route"]
            found.rows[route] = found.rows.get(route, 0.0) + value
    return Reading(found.accounts, meter_j, found.rows_j, found.rows)


def read_source(server: Server) -> str:
    """Which meter gives the joules; `none` where none does."""
    for name, labels, _ in read_metrics(server.http_port):
        if name == "sparing_energy_meter_joules_total":
            return labels["source"]
    return "none"


def make_case(name: str, route: str, pictures: Pictures, connections: int) -> Case:
    """Infer requests of these pictures, any answer."""
    bodies, headers = pack_binary(pictures)
    traffic = Traffic(bodies, [b""] * len(bodies))
    return Case(name, "", connections, traffic, f"/v2/models/{route}/infer", headers)


@contextmanager
def loaded(
    server: Server, cases: Sequence[Case], work: Path, seconds: float
) -> Iterator[list[dict[str, Any]]]:
    """Load from processes of its own beside the block; its numbers are there at the end."""
    done: list[dict[str, Any]] = []

    def run(case: Case) -> None:
        with contextlib.suppress(RuntimeError, subprocess.CalledProcessError):  # it was killed
            done.append(run_load(case, server, work, seconds))

    threads = [threading.Thread(target=run, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        for thread in threads:
            thread.join()


def load(server: Server, cases: Sequence[Case], work: Path, seconds: float) -> None:
    """All at once. Raises RuntimeError where an answer was an error."""
    with loaded(server, cases, work, seconds) as done:
        pass
    faults = sum(one["errors"] + one["wrong"] for one in done)
    if len(done) < len(cases) or faults:
        raise RuntimeError(f"{faults} answers were errors under the energy benchmark's load")

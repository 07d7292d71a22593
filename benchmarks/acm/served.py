"""Both shipped routes through the real server: the dense net, and the one with learners.

One picture a request, cache off, the default budget. Over many connections requests share batches;
over one each is alone. Both routes get the larger of their batch limits, for the dense net's own is
small. Reported are the server's CPU time a request, and the time inside the stage.
"""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.acm.names import SERVED, SERVED_CONNECTIONS, SERVED_ROUTES
from benchmarks.acm.nets import Say
from benchmarks.serving.cases import SETTINGS, Case, label_offline, make_binary_traffic
from benchmarks.serving.measure import LOAD_METRICS, run_load
from harness.load.traffic import Pictures
from harness.results import Sample
from harness.servers import Server, count_spent, run_servers
from routes.writing import to_toml

SERVER = "no-memory"


def measure_served(
    models: Path, pictures: Pictures, work: Path, runs: int, seconds: float, say: Say
) -> Iterator[Sample]:
    """Every case once a run, every other run in reverse order. Nothing where a route is missing."""
    missing = [route for route in SERVED_ROUTES.values() if not (models / route).is_dir()]
    if missing:
        say(f"{models / missing[0]}: not there, the server is left out")
        return
    models = copy_routes(models, work / "models")
    with run_servers(models, {SERVER: SETTINGS[SERVER]}, work) as servers:
        cases = list(_list_cases(models, servers[SERVER], pictures))
        for run in range(runs):
            for case, route in cases if run % 2 == 0 else reversed(cases):
                say(f"run {run + 1}: {case.name}")
                for metric, value in _measure(case, route, servers[SERVER], work, seconds).items():
                    yield Sample(case.name, run, metric, value)


def copy_routes(models: Path, to: Path) -> Path:
    """Copies of the routes' latest versions, with one batch limit; returns `to`."""
    for route in SERVED_ROUTES.values():
        latest = max((models / route).iterdir(), key=lambda version: int(version.name))
        shutil.copytree(latest, to / route / latest.name)
    tables = {path: tomllib.loads(path.read_text()) for path in to.glob("*/*/route.toml")}
    stages = [stage for table in tables.values() for stage in table["stages"]]
    limit = max(stage["max_batch"] for stage in stages)
    for path, table in tables.items():
        for stage in table["stages"]:
            stage["max_batch"] = limit
        path.write_text(to_toml(table))
    return to


def _list_cases(models: Path, server: Server, pictures: Pictures) -> Iterator[tuple[Case, str]]:
    """Each case, and the route that it asks, which must answer as it does without a server."""
    for words, route in SERVED_ROUTES.items():
        labels = label_offline(models, route, pictures)
        traffic, headers = make_binary_traffic(server, route, pictures, labels)
        path = f"/v2/models/{route}/infer"
        for connections in SERVED_CONNECTIONS:
            name = SERVED.format(words, connections)
            yield Case(name, SERVER, connections, traffic, path, headers), route


def _measure(
    case: Case, route: str, server: Server, work: Path, seconds: float
) -> dict[str, float]:
    counters = {
        "seconds": ("sparing_stage_seconds_sum", {"route": route}),
        "rows": ("sparing_rows_total", {"route": route}),
        "macs": ("sparing_macs_total", {"route": route}),
    }
    with count_spent(server, counters) as spent:
        load = run_load(case, server, work, seconds)
    return {
        **{name: load[name] for name in LOAD_METRICS},
        "device_us": spent["seconds"] / spent["rows"] * 1e6,
        "served_mmacs": spent["macs"] / spent["rows"] / 1e6,
    }

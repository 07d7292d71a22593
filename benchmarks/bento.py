"""`python -m benchmarks.bento`: our server inside BentoML beside `sparing serve`, in turns.

The same cases as in `benchmarks.serving`, each on both hosts right after one another, so that the
comparison is of neighbours in time. The numbers go to `benchmarks/results/`, the comparison to
`docs/reports/bento.md`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

from rich.console import Console

from benchmarks import cases as case_list
from benchmarks import small_cnn
from benchmarks.bento_report import COMPARED, HOSTS
from benchmarks.cases import Case
from benchmarks.process_tree import read_resident_bytes
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, Sample, write_results
from benchmarks.servers import Server, run_bento, run_sparing
from benchmarks.serving import measure_cases

SERVERS = ("default", "no-memory")  # of each host, by their settings in `cases`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="one run of 0.5 s, into runs/bench/")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, options.seconds)
    command = "python -m benchmarks.bento" + (
        " --quick" if options.quick else f" --runs {runs} --seconds {seconds:g}"
    )
    samples = measure_hosts(runs, seconds, Console(stderr=True))
    path = write_results("bento", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("bento", path, QUICK_FOLDER if options.quick else DOCS))
    faults = sum(s.value for s in samples if s.metric in ("errors", "wrong"))
    if faults:
        sys.exit(f"{faults:.0f} answers were errors or wrong; the results say in which cases")


def measure_hosts(runs: int, seconds: float, console: Console) -> list[Sample]:
    """Every case `runs` times on both hosts."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        served = work / "models"
        small_cnn.write_small_cnn(served)
        servers = stack.enter_context(_run_servers(served, work))
        cases = [
            case for pair in zip(*(_build(host, servers, served) for host in HOSTS), strict=True)
            for case in pair
        ]  # fmt: skip
        for run in range(runs):
            samples += measure_cases(cases, servers, work, run, seconds, console)
        for host in HOSTS:
            server = servers[f"default-{host}"]
            resident_mb = read_resident_bytes(server.pid) / 1e6
            samples.append(Sample(f"start-{host}", 0, "ready_s", server.ready_s))
            samples.append(Sample(f"start-{host}", 0, "resident_mb", resident_mb))
    return samples


def _build(host: str, servers: Mapping[str, Server], served: Path) -> list[Case]:
    """One host's cases, named after it."""
    own = {name: servers[f"{name}-{host}"] for name in SERVERS}
    built = chain(
        case_list.build_http_cases(own, served),
        case_list.build_picture_cases(served),
        case_list.build_grpc_cases(own, served),
    )
    return [
        replace(case, name=f"{case.name}-{host}", server=f"{case.server}-{host}")
        for case in built
        if case.name in COMPARED
    ]


@contextmanager
def _run_servers(served: Path, work: Path) -> Iterator[Mapping[str, Server]]:
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name in SERVERS:
            settings = work / f"{name}.toml"
            settings.write_text(case_list.SETTINGS[name])
            sparing = run_sparing(served, settings)
            bento = run_bento(served, settings, work / f"bentoml-{name}")
            servers[f"{name}-sparing"] = stack.enter_context(sparing)
            servers[f"{name}-bento"] = stack.enter_context(bento)
        yield servers


if __name__ == "__main__":
    main()

"""The same cases of the serving benchmark on several kinds of server, in turns.

Each case is measured on every kind right after one another, so that the comparison is of neighbours
in time.
"""

import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

from rich.console import Console

from benchmarks.reporting.panels import Bars
from benchmarks.serving import cases as case_list
from benchmarks.serving.cases import Case
from benchmarks.serving.measure import gather_models, measure_cases
from harness import small_cnn
from harness.pictures import load_pictures
from harness.process_tree import read_resident_bytes
from harness.results import Results, Sample
from harness.servers import Server

ROWS = (32, 256)  # of one request, where cases of them are compared
SERVERS = ("default", "no-memory")  # of each kind, by their settings in `cases`
WORDS = {  # what reports call the cases
    "hit": "an answer from the cache, HTTP binary",
    "hit-json": "an answer from the cache, HTTP JSON",
    "small-cnn-http": "a small CNN, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
    "picture": "a small CNN, a PNG over HTTP",
    "lone-http": "a lone request, HTTP binary",
    "cascade": "the Fashion-MNIST cascade, HTTP binary",
    "large": "its large model, HTTP binary",
}
Start = Callable[[Path, Path, Path], AbstractContextManager[Server]]  # routes, settings, own folder


def measure_kinds(
    kinds: Mapping[str, Start],
    compared: Container[str],
    runs: int,
    seconds: float,
    console: Console,
    models: Path | None = None,
    channels: int = 1,
) -> list[Sample]:
    """Every compared case `runs` times on all kinds; those of the shipped routes if `models` has
    them. gRPC calls go over so many channels. Raises ValueError or FileNotFoundError, before
    anything starts, where routes or pictures are missing.
    """
    samples: list[Sample] = []
    if models is not None:
        load_pictures()  # before any server starts
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        served = gather_models(models, work) if models else work / "models"
        if models is None:
            small_cnn.write_small_cnn(served)
        servers: dict[str, Server] = {}
        for name in SERVERS:
            settings = work / f"{name}.toml"
            settings.write_text(case_list.SETTINGS[name])
            for kind, start in kinds.items():
                server = start(served, settings, work / f"{kind}-{name}")
                servers[f"{name}-{kind}"] = stack.enter_context(server)
        built = [
            _build(kind, servers, served, compared, shipped=models is not None) for kind in kinds
        ]
        cases = [
            replace(case, channels=channels) for same in zip(*built, strict=True) for case in same
        ]
        for run in range(runs):
            samples += measure_cases(cases, servers, work, run, seconds, console)
        for kind in kinds:
            one = servers[f"default-{kind}"]
            resident_mb = read_resident_bytes(one.pid) / 1e6
            samples.append(Sample(f"start-{kind}", 0, "ready_s", one.ready_s))
            samples.append(Sample(f"start-{kind}", 0, "resident_mb", resident_mb))
    return samples


def draw_kinds(
    results: Results, title: str, metric: str, compared: Sequence[str], kinds: Mapping[str, str]
) -> Bars:
    """A metric of the compared cases; `kinds` says what each kind of server is called."""
    return Bars(title, [WORDS[case] for case in compared], {
        words: [results.median(f"{case}-{kind}", metric) for case in compared]
        for kind, words in kinds.items()
    })  # fmt: skip


def _build(
    kind: str,
    servers: Mapping[str, Server],
    served: Path,
    compared: Container[str],
    *,
    shipped: bool,
) -> list[Case]:
    """One kind's cases, named after it."""
    own = {name: servers[f"{name}-{kind}"] for name in SERVERS}
    own |= {name: own["no-memory"] for name in case_list.SETTINGS if name not in own}
    built = chain(
        case_list.build_http_cases(own, served),
        case_list.build_picture_cases(served),
        case_list.build_grpc_cases(own, served),
        case_list.build_cascade_cases(own, served, None) if shipped else (),
        [
            case_list.build_rows_case(own["no-memory"], rows)
            for rows in ROWS
            if f"rows-{rows}" in compared
        ],
    )
    return [
        replace(case, name=f"{case.name}-{kind}", server=f"{case.server}-{kind}")
        for case in built
        if case.name in compared
    ]

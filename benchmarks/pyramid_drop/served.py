"""Chats through the real server: the untouched model, fewer visual tokens, and one at a time.

The server has a copy of the shipped route whose answers do not end by themselves, so that each is
as long as the trace's; every picture is seen anew. All cases ask the same server, in turns.
"""

import asyncio
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file, save_file

from benchmarks.pyramid_drop.chats import Chat, make_bodies, read_trace, run_load
from benchmarks.pyramid_drop.names import ALONE, FULL, SHARES, TRACES, served
from benchmarks.pyramid_drop.prefills import Say
from harness.results import Sample
from harness.servers import Server, count_spent, run_servers
from routes.writing import describe_file, to_toml
from tokens.vision_language.files import read_model
from tokens.vision_language.words import END

CONNECTIONS, DISTINCT = 32, 64
REQUESTS = 512  # of a trace, again and again
CONTEXT = 320
ROUTES = {"vlm-batched": 32, "vlm-alone": 1}  # their batch limits
SETTINGS = "[cache]\nenabled = false\n"
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """One load."""

    name: str
    route: str
    chats: list[Chat]
    bodies: list[bytes]


def measure_served(
    route: Path,
    traces: Path,
    pictures: npt.NDArray[np.uint8],
    work: Path,
    runs: int,
    seconds: float,
    say: Say,
) -> Iterator[Sample]:
    """Every case once a run, every other run in reverse order. Nothing without the traces."""
    paths = {name: traces / file for name, file in TRACES.items()}
    if missing := [path for path in paths.values() if not path.exists()]:
        say(f"{missing[0]}: not there, the server is left out")
        return
    copy_routes(route, work / "models")
    model, vocabulary = read_model(route, find_name(route))
    words = [word for word in vocabulary.words if word.isalnum()]
    cases = []
    for trace, path in paths.items():
        chats = read_trace(path, REQUESTS)
        for how, name, more in list_ways(model.spec.visual_tokens):
            bodies = make_bodies(chats, pictures[:DISTINCT], words, name, more)
            cases.append(Case(served(trace, how), name, chats, bodies))
    with run_servers(work / "models", {"server": SETTINGS}, work) as servers:
        for run in range(runs):
            for case in cases if run % 2 == 0 else reversed(cases):
                say(f"run {run + 1}: {case.name}")
                for metric, value in _measure(case, servers["server"], seconds).items():
                    yield Sample(case.name, run, metric, value)


def list_ways(visual_tokens: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, route and parameters of each way to answer."""
    batched, alone = ROUTES
    yield FULL, batched, {}
    for share in SHARES:
        yield f"{share:.0%}", batched, {"visual_tokens": share * visual_tokens}
    yield ALONE, alone, {}


def copy_routes(route: Path, to: Path) -> None:
    """Copies of the route by the names in `ROUTES`."""
    name = find_name(route)
    _, vocabulary = read_model(route, name)
    for copy, max_batch in ROUTES.items():
        folder = to / copy / "1"
        folder.mkdir(parents=True)
        shutil.copyfile(route / f"{name}.json", folder / f"{name}.json")
        weights = load_file(route / f"{name}.safetensors")
        weights["words.weight"][vocabulary.id_of(END)] = 0.0
        save_file(weights, folder / f"{name}.safetensors")
        table = tomllib.loads((route / "route.toml").read_text())
        table |= {"route": copy, "version": "1", "task": copy}
        table["options"] |= {"context": CONTEXT, "features_limit_bytes": 0}
        for stage in table["stages"]:
            stage["max_batch"] = max_batch
        table["files"] = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
        (folder / "route.toml").write_text(to_toml(table))


def find_name(route: Path) -> str:
    """Of the model's files."""
    stages = tomllib.loads((route / "route.toml").read_text())["stages"]
    return str(stages[0]["file"]).removesuffix(".safetensors")


def _measure(case: Case, server: Server, seconds: float) -> Mapping[str, float]:
    stage_s = {
        f"{stage}_s": ("sparing_stage_seconds_sum", {"route": case.route, "stage": stage})
        for stage in ("prefill", "decode")
    }
    wanted = [chat.answer for chat in case.chats]
    with count_spent(server, stage_s) as spent:
        found = asyncio.run(
            run_load(server.http_port, case.bodies, wanted, CONNECTIONS, seconds, WARM_UP_S)
        )
    return {
        **found,
        "prefill_share": 100 * spent["prefill_s"] / (spent["prefill_s"] + spent["decode_s"]),
    }

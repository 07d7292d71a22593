"""`python -m benchmarks.serving.large_rows`: what the server adds to a net of ImageNet's size.

A row is a picture, UINT8 [224,224,3] or 151 kB, and the net takes more than 10 ms for it. The
server and bare ONNX Runtime are measured in turns: CPU a row, with one connection (batches of one
row) and with as many as a full batch has rows. Memory is what the route adds to a server's resident
memory after full batches, against what the same net adds to a bare process. The numbers go to
`benchmarks/results/`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.serving.conv_nets import make_conv_net
from benchmarks.serving.onnx_time import measure_onnx
from harness.load import loadgen
from harness.load.loadgen import Plan
from harness.load.traffic import Traffic, encode_binary
from harness.process_tree import read_resident_bytes
from harness.results import Sample, write_results
from harness.servers import Server, run_sparing
from harness.tiny_routes import write_route

ROUTE, SIZE, FULL_BATCH, PICTURES = "large-rows", 224, 8, 16
# Two convolutions at each of four sizes, 0.6 GMACs.
LAYERS = [(channels, stride) for channels in (32, 64, 128, 256) for stride in (2, 1)]
LOADS = {"one": 1, "full": FULL_BATCH}  # connections

# Prints the resident bytes that loading and running full batches adds.
_BARE = """
import os, sys
from pathlib import Path
import numpy as np
from core.devices.onnx import OnnxDevice
from harness.process_tree import read_resident_bytes
before = read_resident_bytes(os.getpid())
session = OnnxDevice().open(Path(sys.argv[1]))
shape = (int(sys.argv[2]), *session.get_inputs()[0].shape[1:])
for _ in range(3):
    session.run(None, {"image": np.zeros(shape, np.uint8)})
print(read_resident_bytes(os.getpid()) - before)
"""


def write_models(models: Path) -> Path:
    """Write the route; return its net."""

    def change(table: dict[str, Any]) -> None:
        table["inputs"] = [
            {"name": "image", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]},
        ]
        table.pop("picture", None)

    directory = write_route(
        models,
        ROUTE,
        pipeline="single",
        nets=[make_conv_net((SIZE, SIZE, 3), LAYERS)],
        max_batch=FULL_BATCH,
        change=change,
    )
    return directory / "stage0.onnx"


def save_traffic(path: Path) -> tuple[str, ...]:
    """Write the requests; return their headers. Which label is right does not matter here."""
    rng = np.random.default_rng(0)
    encoded = [
        encode_binary(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
        for _ in range(PICTURES)
    ]
    bodies = [body for body, _ in encoded]
    Traffic(bodies, [b'"model_name"'] * len(bodies)).save(path)
    return (f"inference-header-content-length: {encoded[0][1]}",)


def measure_bare_bytes(net: Path) -> float:
    """Return the resident bytes that the net adds to a bare process."""
    command = [sys.executable, "-c", _BARE, str(net), str(FULL_BATCH)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_all(rounds: int, seconds: float) -> Iterator[Sample]:
    """Both in turns."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        net, traffic = write_models(work / "models"), work / "rows.npz"
        write_route(work / "small")
        headers = save_traffic(traffic)
        settings = work / "settings.toml"
        settings.write_text("[cache]\nenabled = false\n")
        small = stack.enter_context(run_sparing(work / "small", settings))
        server = stack.enter_context(run_sparing(work / "models", settings))
        for run in range(rounds):
            for name, connections in LOADS.items():
                bare = measure_onnx(net, [connections], seconds)[connections]
                yield Sample(f"bare-{name}", run, "cpu_us", bare["cpu_us"])
                served = _load(server, traffic, headers, connections, seconds)
                yield Sample(f"served-{name}", run, "cpu_us", served)
            added = read_resident_bytes(server.pid) - read_resident_bytes(small.pid)
            yield Sample("served", run, "added_mb", added / 1e6)
            yield Sample("bare", run, "added_mb", measure_bare_bytes(net) / 1e6)


def _load(
    server: Server, traffic: Path, headers: tuple[str, ...], connections: int, seconds: float
) -> float:
    """Return CPU µs a row."""
    plan = Plan(connections, seconds, server_pid=server.pid)
    path = f"/v2/models/{ROUTE}/infer"
    load = loadgen.run_load(traffic, plan, port=server.http_port, path=path, headers=headers)
    if load["errors"] or load["wrong"] or not load["requests"]:
        raise RuntimeError(f"{load['errors']} errors, {load['wrong']} wrong")
    return float(load["cpu_us"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each in a round")
    options = parser.parse_args()
    samples = list(measure_all(options.rounds, options.seconds))
    print(write_results("large-rows", "python -m benchmarks.serving.large_rows", samples))

    def pick(case: str, metric: str) -> npt.NDArray[np.float64]:
        return np.array([one.value for one in samples if (one.case, one.metric) == (case, metric)])

    for name, connections in LOADS.items():
        bare, served = pick(f"bare-{name}", "cpu_us"), pick(f"served-{name}", "cpu_us")
        more = 100 * (served / bare - 1)
        print(
            f"{connections} connections: {np.median(bare) / 1e3:.2f} ms a row bare, "
            f"{np.median(served) / 1e3:.2f} ms served; the server adds {np.median(more):.1f} %"
            f" [{more.min():.1f} to {more.max():.1f}]"
        )
    bare, served = pick("bare", "added_mb"), pick("served", "added_mb")
    print(
        f"memory: {np.median(bare):.0f} MB bare, {np.median(served):.0f} MB served, "
        f"ratio {np.median(served / bare):.2f}"
    )


if __name__ == "__main__":
    main()

"""Runs the Triton server of the package `nvidia-pytriton`, which brings its Python backend.

The package wants other versions than ours, so it has an environment of its own, with onnxruntime:
`python3.11 -m venv triton && triton/bin/pip install nvidia-pytriton onnxruntime`.
"""

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.servers import Server, find_free_port, run_command

MAX_ROWS = 256
_CACHE_BYTES = 256 * 2**20
_HERE = Path(__file__).parent
_CONFIG = """
backend: "python"
max_batch_size: {rows}
input [ {{ name: "image" data_type: TYPE_UINT8 dims: [ 28, 28 ] }} ]
output [
  {{ name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape: {{ shape: [ ] }} }},
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] }}
]
dynamic_batching {{ }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
response_cache {{ enable: {cached} }}
"""


def find_folder(python: Path) -> Path:
    """Return the folder of Triton's files in the environment of this interpreter. Raises
    FileNotFoundError, which says how to install it.
    """
    found = subprocess.run(
        [python, "-c", "import pytriton, onnxruntime; print(pytriton.__path__[0])"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        raise FileNotFoundError(
            f"{python} has no nvidia-pytriton with onnxruntime; install both into an environment of"
            " their own and name its python with --triton-python"
        )
    return Path(found.stdout.split()[-1]) / "tritonserver"


def write_plan(route: Path, folder: Path) -> None:
    """Copy the nets of a route directory, with a plan for `answering.Cascade`."""
    folder.mkdir(parents=True)
    stages = tomllib.loads((route / "route.toml").read_text())["stages"]
    for stage in stages:
        shutil.copy(route / stage["file"], folder)
    plan = [[one["file"], one.get("temperature", 1.0), one.get("threshold", 0.0)] for one in stages]
    (folder / "plan.json").write_text(json.dumps(plan))


def write_repository(models: Path, repository: Path, *, cached: bool) -> None:
    """Write a model repository for the routes in `models`."""
    for route in sorted(models.iterdir()):
        version = repository / route.name / "1"
        write_plan(route / "1", version)
        shutil.copy(_HERE / "answering.py", version)
        shutil.copy(_HERE / "triton_model.py", version / "model.py")
        text = _CONFIG.format(rows=MAX_ROWS, cached=str(cached).lower())
        (version.parent / "config.pbtxt").write_text(f'name: "{route.name}"{text}')


@contextmanager
def run_triton(python: Path, repository: Path) -> Iterator[Server]:
    """Run Triton with this model repository and default settings."""
    folder = find_folder(python)
    http_port, grpc_port = find_free_port(), find_free_port()
    stub = folder / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    backends = repository.with_name(f"{repository.name}-backends")
    shutil.copytree(folder / "backends", backends)
    shutil.copy(stub, backends / "python")
    command = [
        str(folder / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--cache-directory={folder / 'caches'}",
        f"--cache-config=local,size={_CACHE_BYTES}",
        f"--http-port={http_port}", "--http-address=127.0.0.1",
        f"--grpc-port={grpc_port}", "--grpc-address=127.0.0.1",
        "--allow-metrics=false", "--log-verbose=0", "--log-info=false",
    ]  # fmt: skip
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "LD_LIBRARY_PATH": str(folder.parents[1] / "nvidia_pytriton.libs"),  # of the copied stub
    }
    with run_command(command, http_port, grpc_port, environment, "/v2/health/ready") as server:
        yield server

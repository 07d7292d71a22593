"""The kernels compile for accelerators that are not there, in a process without the interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

SCRIPT = Path(__file__).with_name("compile_all.py")
CAPABILITY = 90  # of the accelerator that the kernels are meant for first
SHARED_BYTES = 227 * 1024  # that a program may use there, after CUDA's documentation


@pytest.mark.slow
def test_every_kernel_compiles_with_products_on_tensor_cores_and_nothing_atomic(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, SCRIPT, str(CAPABILITY)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    found = {name: (int(shared), set(parts)) for name, shared, *parts in rows}
    assert found.keys() == {
        "_hide_kernel", "_add_kernel", "_gate_kernel", "_place_kernel",
    }  # fmt: skip
    for name, (shared, parts) in found.items():
        assert shared <= SHARED_BYTES
        assert not {"atom", "red"} & parts, name
    for name in ("_hide_kernel", "_add_kernel", "_gate_kernel"):
        assert {"wgmma", "cp.async"} <= found[name][1]

"""podman with a store of its own below runs/image, and options that also work inside a sandbox.

Inside a container or a sandbox without systemd, podman needs runc, no health checks of its own and
limits that the machine can grant; `RUN_OPTIONS` has these. None of them makes the container less
confined than a cluster does.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from k8s.image.pip_settings import make_options

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runs" / "image"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # so that pip in a build trusts as we do
IMAGE = "localhost/sparing:0.1.0"
PROGRAMS = ("podman", "runc")
RUN_OPTIONS = (
    "--pull=never",
    "--no-healthcheck",
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=4096:4096",
    "--network=host",
)
# As the manifests run it: base/deployment.yaml.
CONFINED = (
    "--read-only",
    "--tmpfs=/tmp:size=32m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


def find_missing() -> str:
    """Return a sentence on what this machine lacks, or an empty string."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {' and no '.join(missing)} here: apt-get install podman buildah runc"
    return "" if os.geteuid() == 0 else "building and running images as tried here needs root"


def podman(*arguments: str, check: bool = True) -> str:
    """Run podman and return its output. Raises RuntimeError with its message if it fails."""
    done = subprocess.run(
        ["podman", "--runtime", "runc", *arguments],
        env={**os.environ, "CONTAINERS_STORAGE_CONF": str(_write_storage())},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check and done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise RuntimeError(
            f"podman {' '.join(arguments[:2])} ended with {done.returncode}:\n{tail}"
        )
    return done.stdout.strip()


def has_image(name: str) -> bool:
    return bool(podman("images", "--quiet", name))


def build(target: str, name: str, base: str) -> None:
    """Build one target of the Dockerfile on the image `base`, and name it."""
    options = ["--format=docker", "--pull=never", "--network=host", "--isolation=chroot"]
    if CERTIFICATES.exists():
        options.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
    options += make_options(FOLDER)
    options += [f"--build-arg=BASE={base}", f"--target={target}", f"--tag={name}"]
    podman("build", *options, str(ROOT))


def measure_compressed_bytes(name: str) -> int:
    """Return the size of the image as a registry stores it: its layers, compressed by gzip."""
    folder = FOLDER / "pushed"
    shutil.rmtree(folder, ignore_errors=True)
    podman("push", "--quiet", "--compress", name, f"dir:{folder}")
    manifest = json.loads((folder / "manifest.json").read_text())
    files = [manifest["config"], *manifest["layers"]]
    size: int = sum((folder / entry["digest"].partition(":")[2]).stat().st_size for entry in files)
    shutil.rmtree(folder)
    return size


def run(image: str, options: Sequence[str], command: Sequence[str]) -> str:
    """Start a container, confined as in a cluster, and return its identifier."""
    return podman("run", "--detach", *RUN_OPTIONS, *CONFINED, *options, image, *command)


def _write_storage() -> Path:
    """Return the configuration of a store of this checkout, apart from the machine's own."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "storage.conf"
    if not path.exists():
        path.write_text(
            f'[storage]\ndriver = "overlay"\nrunroot = "{FOLDER}/run"\n'
            f'graphroot = "{FOLDER}/graph"\n'
        )
    return path

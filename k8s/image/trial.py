"""`python -m k8s.image.trial [--image NAME] [--restarts N]`: runs the image as a cluster would.

Two containers without root rights, with a read-only file system, no capabilities and a memory limit
answer over HTTP and gRPC, while one after the other is stopped and started again. Every request
must be answered, and every stop must end with exit code 0 within the grace period. Prints the
compressed size of the image and the seconds from start to ready; exit code 1 if a limit is missed.
An image that is missing is built first. Where podman is missing, it says so and ends with 0.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from harness.load.restarts import is_ready, report, restart_under_load
from harness.servers import find_free_port
from harness.waiting import wait_until
from k8s.image.make import TARGETS, find_base
from k8s.image.podman import (
    IMAGE,
    build,
    find_missing,
    has_image,
    measure_compressed_bytes,
    podman,
    run,
)  # fmt: skip

MEMORY = "1g"  # the limit in base/deployment.yaml
GRACE_S = 50  # its grace period after preStop
MAX_COMPRESSED_BYTES = {"": 350e6, "-torch": 900e6}  # by the suffix of the tag
MAX_READY_S = 5.0
START_LIMIT_S = 120.0


@dataclass(slots=True)
class Container:
    """A container of the image, and how it went."""

    image: str
    http_port: int
    grpc_port: int
    name: str = ""
    ready_s: list[float] = field(default_factory=list)  # of each start, from that of the process

    def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError with its log if it is not."""
        command = ["serve", f"--http-port={self.http_port}", f"--grpc-port={self.grpc_port}"]
        self.name = run(self.image, [f"--memory={MEMORY}"], command)
        try:
            wait_until(self.is_ready, "the container is not ready", START_LIMIT_S)
        except AssertionError as error:
            raise RuntimeError(f"{error}:\n{podman('logs', self.name)}") from error
        started = podman("inspect", "--format={{.State.StartedAt.UnixMilli}}", self.name)
        self.ready_s.append(time.time() - int(started) / 1e3)

    def is_ready(self) -> bool:
        return is_ready(self.http_port)

    def stop(self) -> tuple[float, int]:
        """Stop it as a cluster does; return the seconds it took and the exit code."""
        began = time.monotonic()
        podman("stop", f"--time={GRACE_S}", self.name)
        seconds = time.monotonic() - began
        code = int(podman("inspect", "--format={{.State.ExitCode}}", self.name))
        podman("rm", self.name)
        self.name = ""
        return seconds, code

    def remove(self) -> None:
        if self.name:
            podman("rm", "--force", "--time=5", self.name, check=False)


@contextmanager
def start_two(image: str) -> Iterator[list[Container]]:
    """Start two containers on free ports; they are removed at the end."""
    containers = [Container(image, find_free_port(), find_free_port()) for _ in range(2)]
    try:
        for container in containers:
            container.start()
        yield containers
    finally:
        for container in containers:
            container.remove()


def check_confinement(container: Container) -> list[str]:
    """Return what a container may do that it should not."""
    tried = {
        "runs as root": "import os, sys; sys.exit(os.getuid() == 10001 == os.getgid())",
        "writes to its file system": "open('/app/written', 'w')",
        "has capabilities": "import sys; lines = open('/proc/1/status').read().splitlines();"
        "sys.exit('CapEff:\\t0000000000000000' in lines)",
    }
    faults = []
    for fault, code in tried.items():
        out = podman("exec", container.name, "python", "-c", f"{code}\nprint('ran')", check=False)
        if "ran" in out:
            faults.append(fault)
    first = podman("exec", container.name, "python", "-c", "print(open('/proc/1/cmdline').read())")
    if "sparing\0serve" not in first:
        faults.append(f"process 1 is not the server: {first!r}")
    return faults


def try_image(image: str, restarts: int) -> list[str]:
    """Return a sentence for each fault. Raises RuntimeError if the image cannot be tried."""
    faults = []
    size = measure_compressed_bytes(image)
    suffix = image.rpartition(":")[2].partition("-")[2]
    limit = MAX_COMPRESSED_BYTES.get(f"-{suffix}" if suffix else "")
    print(f"compressed: {size / 1e6:.0f} MB" + (f" (limit {limit / 1e6:.0f} MB)" if limit else ""))
    if limit is not None and size > limit:
        faults.append("the image is too large")
    with start_two(image) as containers:
        faults += check_confinement(containers[0])
        callers, found = restart_under_load(containers, restarts, GRACE_S)
        faults += found
        starts = sorted(seconds for one in containers for seconds in one.ready_s)
        print(
            f"start to ready: {starts[0]:.1f} s (fastest of {len(starts)}, median "
            f"{median(starts):.1f} s; target {MAX_READY_S:.0f} s on an idle machine)"
        )
        for container in containers:
            took_s, code = container.stop()
            if code != 0:
                faults.append(f"a stop without load took {took_s:.1f} s, exit code {code}")
    return [*faults, *report("HTTP", callers.http), *report("gRPC", callers.grpc)]


def build_missing(image: str) -> None:
    """Build the image. Raises RuntimeError if it is not one of the Dockerfile's targets."""
    target = next((target for target, name in TARGETS.items() if name == image), None)
    if target is None:
        raise RuntimeError(f"no image {image}")
    build(target, image, find_base())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--restarts", type=int, default=4)
    options = parser.parse_args()
    if missing := find_missing():
        print(f"not tried: {missing}")
        return
    try:
        if not has_image(options.image):
            build_missing(options.image)
        faults = try_image(options.image, options.restarts)
    except RuntimeError as error:
        sys.exit(str(error))
    for fault in faults:
        print(f"WRONG: {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

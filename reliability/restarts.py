"""`python -m reliability.restarts [--restarts N]`: rolling restarts of server processes under load.

Two servers answer over HTTP and gRPC, while one after the other is stopped by SIGTERM and started
again. Callers send what a stopping server refuses to the other one, once. Every request must be
answered, and every stop must end with exit code 0. Exit code 1 if that is not so.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from harness.load.restarts import is_ready, report, restart_under_load
from harness.servers import find_free_port
from harness.waiting import wait_until

RESTARTS = 500
START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0


@dataclass(slots=True)
class Process:
    """A server in a process of its own, which may be replaced by the next."""

    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes] | None = None
    ready_s: list[float] = field(default_factory=list)  # of each start

    def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError if it is not."""
        sparing = str(Path(sys.executable).with_name("sparing"))
        ports = [f"--http-port={self.http_port}", f"--grpc-port={self.grpc_port}"]
        began = time.monotonic()
        command = [sparing, "serve", "--log-level=error", *ports]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: is_ready(self.http_port), "the server is not ready", START_LIMIT_S)
        self.ready_s.append(time.monotonic() - began)

    def stop(self) -> tuple[float, int]:
        """Stop it as a cluster does; return the seconds it took and the exit code."""
        assert self.process is not None, "it runs"
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(timeout=STOP_LIMIT_S)
        self.process = None
        return time.monotonic() - began, code


@contextmanager
def start_two() -> Iterator[list[Process]]:
    """Start two servers on free ports; they are ended at the end."""
    processes = [Process(find_free_port(), find_free_port()) for _ in range(2)]
    try:
        for one in processes:
            one.start()
        yield processes
    finally:
        for one in processes:
            if one.process is not None:
                one.process.kill()
                one.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    options = parser.parse_args()
    with start_two() as processes:
        callers, faults = restart_under_load(processes, options.restarts, STOP_LIMIT_S)
        starts = [seconds for one in processes for seconds in one.ready_s]
        print(f"start to ready: {median(starts):.1f} s (median of {len(starts)})")
    faults += [*report("HTTP", callers.http), *report("gRPC", callers.grpc)]
    for fault in faults:
        print(f"WRONG: {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

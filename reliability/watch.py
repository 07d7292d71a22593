"""What a server's processes hold: memory, files, threads; and how long /livez takes."""

import asyncio
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from harness.process_tree import find_tree, read_cpu_s, read_resident_bytes
from reliability.wire.wire import connect, take_reply

CALM_S = 1.0  # in which a server lets go what requests held
_ERROR = re.compile(r" (ERROR|CRITICAL) |^Traceback")
LIVE = b"GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"


class Held(NamedTuple):
    """One reading of a process tree."""

    at_s: float  # since the watch began
    resident_bytes: int
    files: int
    threads: int
    cpu_s: float


def look(pid: int, began: float) -> Held:
    """Read the tree of `pid`; a process that has just ended counts as nothing."""
    files = threads = 0
    for member in find_tree(pid):
        folder = Path(f"/proc/{member}")
        try:
            files += len(os.listdir(folder / "fd"))
            threads += len(os.listdir(folder / "task"))
        except OSError:
            continue
    return Held(time.monotonic() - began, read_resident_bytes(pid), files, threads, read_cpu_s(pid))


@dataclass
class Watch:
    """`async with Watch(pid, port):` reads once an interval, and requests /livez."""

    pid: int
    port: int
    interval_s: float = 1.0
    limit_s: float = 30.0
    calm_bytes: int = 0  # held when nothing was asked, after the warm-up
    looks: list[Held] = field(default_factory=list)
    live_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # of /livez

    async def __aenter__(self) -> "Watch":
        self.began = time.monotonic()
        self.looks.append(look(self.pid, self.began))
        self._task = asyncio.create_task(self._run())
        return self

    async def calm_down(self) -> None:
        """Read while no request is in flight; growth is measured from this reading."""
        await asyncio.sleep(CALM_S)
        self.looks.append(look(self.pid, self.began))
        self.calm_bytes = self.looks[-1].resident_bytes

    @property
    def grown_bytes(self) -> int:
        """Growth since that reading. Under load it includes the memory of requests in flight."""
        return self.looks[-1].resident_bytes - self.calm_bytes

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.sleep(CALM_S)
        self.looks.append(look(self.pid, self.began))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.interval_s)
            self.looks.append(look(self.pid, self.began))
            asked = time.monotonic()
            try:
                await self._ask()
            except (OSError, TimeoutError) as error:
                self.failures.append(f"/livez after {time.monotonic() - asked:.1f} s: {error!r}")
            self.live_s.append(time.monotonic() - asked)

    async def _ask(self) -> None:
        async with asyncio.timeout(self.limit_s):
            wire = await connect(self.port)
            try:
                wire.write(LIVE)
                while (reply := take_reply(wire.buffer)) is None:
                    if wire.over:
                        raise ConnectionResetError("closed without an answer")
                    await wire.more(self.limit_s)
            finally:
                wire.abort()
        if reply.status != 200:
            raise ConnectionError(f"status {reply.status}")


def find_errors(log: str) -> list[str]:
    """The first three errors and tracebacks in a server's log; no client may cause any."""
    lines = log.splitlines()
    places = [
        n for n, line in enumerate(lines) if _ERROR.search(line) and not _is_grpcs_own(lines[n:])
    ]
    shown = ["\n  ".join(lines[place : place + 12])[:2000] for place in places[:3]]
    return [f"{len(places)} errors in the server's log, such as {text}" for text in shown]


def _is_grpcs_own(lines: Sequence[str]) -> bool:
    """Whether the traceback is gRPC's own: a client disconnected before its call's status."""
    if not lines[0].startswith("Traceback"):
        return False
    last = next((line for line in lines[1:] if not line.startswith(" ")), "")
    return last.startswith("grpc._cython.cygrpc.ExecuteBatchError")


def growth_bytes(looks: Sequence[Held], from_s: float) -> int:
    """Resident memory of the last tenth over that of the first tenth after the warm-up."""
    after = [one.resident_bytes for one in looks if one.at_s >= from_s]
    if len(after) < 3:
        return 0
    tenth = max(1, len(after) // 10)
    return int(np.median(after[-tenth:]) - np.median(after[:tenth]))


def slope_bytes_h(looks: Sequence[Held], from_s: float) -> float:
    """Growth of resident memory an hour: the slope of a line through readings after the warm-up."""
    after = [one for one in looks if one.at_s >= from_s]
    if len(after) < 3:
        return 0.0
    hours = np.array([one.at_s for one in after]) / 3600
    line = np.polyfit(hours, np.array([one.resident_bytes for one in after], dtype=float), 1)
    return float(line[0])

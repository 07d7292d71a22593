"""How fast a stage's int8 file is on this machine, as a share of its float file's time.

Both take turns, with one row and with a full batch, for a fraction of a second. What was found is
saved (`core.devices.saved_ratios`), so that it is measured once for each pair of files, processor,
runtime and device.
"""

import hashlib
import logging
import math
import platform
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.datatypes import DATATYPES, OF_ONNX
from core.devices.interface import FilePair, WorkClock
from core.devices.saved_ratios import find_folder, read_or_measure
from core.messages import Array

MAX_RATIO = 0.95  # of an int8 file that runs; less than 5 % is within the noise of the clock
TURNS_S = 0.1  # of one pair
MIN_TURNS = 3
BATCH_S = 0.01  # of a full batch, at most: larger ones are measured with fewer rows
FREE_SIZES = (32, 1)  # tried in this order for dimensions of any size
CPU_FACTS = ("model name", "flags", "CPU part", "Features")  # of /proc/cpuinfo

_log = logging.getLogger("sparing.devices")

Feed = dict[str, Array]


class Session(Protocol):
    """What is used of ONNX Runtime's session."""

    def get_inputs(self) -> list[Any]: ...  # NodeArg, which has no types
    def run(self, outputs: None, feed: Feed, /) -> Any: ...


def find_ratio(
    pair: FilePair, open_file: Callable[[Path], Session], clock: WorkClock, device: str
) -> float:
    """Return the int8 file's time as a share of the float file's: saved, or measured now.

    `device` describes all that the times depend on beside files and processor. Raises what
    `open_file` raises.
    """
    facts = (*pair.sha256, str(pair.max_batch), describe_cpu(), device)
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()

    def measure() -> float:
        sessions = open_file(pair.float32), open_file(pair.int8)
        ratio = measure_ratio(*sessions, pair.max_batch, clock)
        _log.info("%s takes %.2f of the time of %s", pair.int8, ratio, pair.float32.name)
        return ratio

    return read_or_measure(key, measure, find_folder())


def measure_ratio(float32: Session, int8: Session, max_batch: int, clock: WorkClock) -> float:
    """Return the median ratio of the turns, as the geometric mean of one row and a full batch.

    1.0 if the files do not run with rows of random numbers.
    """
    sessions = (float32, int8)
    for free in FREE_SIZES:
        try:
            one_s = _time(float32, _make_feed(float32, 1, free), clock)
            rows = max(1, min(max_batch, int(BATCH_S / max(one_s, 1e-9))))
            feeds = [_make_feed(float32, count, free) for count in sorted({1, rows})]
            for session in sessions:  # the first run allocates
                for feed in feeds:
                    session.run(None, feed)
        except Exception:  # the runtime's own classes; the trial run of the route names the fault
            continue
        return _take_turns(sessions, feeds, clock)
    return 1.0


def _take_turns(sessions: tuple[Session, Session], feeds: list[Feed], clock: WorkClock) -> float:
    ratios: list[list[float]] = [[] for _ in feeds]
    ends_s = time.monotonic() + TURNS_S
    while len(ratios[0]) < MIN_TURNS or time.monotonic() < ends_s:
        for feed, found in zip(feeds, ratios, strict=True):
            float_s, int8_s = (_time(session, feed, clock) for session in sessions)
            found.append(max(int8_s, 1e-9) / max(float_s, 1e-9))
    logarithms = [math.log(statistics.median(found)) for found in ratios]
    return math.exp(statistics.fmean(logarithms))


def _time(session: Session, feed: Feed, clock: WorkClock) -> float:
    clock.begin()
    session.run(None, feed)
    return clock.end()


def _make_feed(session: Session, rows: int, free: int) -> Feed:
    rng = np.random.default_rng(0)
    feed: Feed = {}
    for node in session.get_inputs():
        sizes = [
            size if isinstance(size, int) else free if place else rows
            for place, size in enumerate(node.shape)
        ]
        feed[node.name] = _draw(rng, OF_ONNX.get(node.type, ""), sizes)
    return feed


def _draw(rng: np.random.Generator, datatype: str, sizes: list[int]) -> Any:
    dtype = DATATYPES.get(datatype, np.dtype(np.float32))
    if datatype == "UINT8":
        return rng.integers(0, 256, sizes, dtype=np.uint8)
    if datatype.startswith("FP"):
        return rng.standard_normal(sizes).astype(dtype)
    if datatype == "BYTES":
        return np.full(sizes, "", dtype)
    return np.zeros(sizes, dtype)


@cache
def describe_cpu() -> str:
    """Return the processor's name and features: virtual machines give one name to several."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(line for line in lines if line.startswith(CPU_FACTS))

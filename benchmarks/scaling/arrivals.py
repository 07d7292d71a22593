"""Requests of the demo's trace at a chosen rate: pictures, and when each is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.load.traffic import pack_binary
from simulation.trace import Floats, expand

TRAFFIC = Path(__file__).parents[2] / "demo" / "traffic.npz"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Bodies with the header lines that they share, and the seconds at which each is sent."""

    bodies: Sequence[bytes]
    headers: Sequence[str]
    due_s: Floats  # [N], sorted


def draw_arrivals(requests_s: float, seconds: float, seed: int) -> Arrivals:
    """Return the requests of a part of the trace that lasts `seconds` at this mean rate.

    The trace is sped up; where that would be too short, each of its rows stands for several
    requests. The cache is off in this benchmark, so that pictures may repeat.
    """
    with np.load(TRAFFIC, allow_pickle=False) as data:
        pictures, at_ms, picture = data["pictures"], data["at_ms"], data["picture"]
    wanted = max(2, round(requests_s * seconds))
    each = -(-wanted // len(at_ms))
    rows = -(-wanted // each)
    times_s = (at_ms[:rows] - at_ms[0]) / 1e3
    due_s = expand(times_s, each, 1.0, seed)[:wanted]
    due_s = due_s * (seconds / due_s[-1])
    packed, headers = pack_binary(pictures)
    bodies = [packed[picture[number % len(picture)]] for number in range(wanted)]
    return Arrivals(bodies, headers, due_s)

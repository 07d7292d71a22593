"""Decides which rows of a call the perceptual cache is asked for."""

import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict

from core.columns import stack_outcomes
from core.messages import Key, RowAnswers
from serving.engine.caches.perceptual_cache import PerceptualRoute, Probe
from serving.engine.calls import Call
from serving.engine.catalog import ServedRoute

NO_PROBES: Mapping[int, Probe] = {}


def look_up_perceptual(
    call: Call,
    keys: Sequence[Key | None],
    missing: Sequence[int],
    in_flight: Container[Key | None],
) -> tuple[Sequence[int], Mapping[int, Probe]]:
    """Answer rows from the perceptual cache; return those that are still missing, and a probe for
    each row that it was asked for in vain.

    Only rows that the exact cache missed and that are not in flight already are looked up. The
    probes go with the rows' blocks.
    """
    similar = call.served.similar
    if similar is None:
        return missing, NO_PROBES
    rows = [row for row in missing if keys[row] is not None and keys[row] not in in_flight]
    known, probes = similar.look_up(call.request, rows)
    if known:
        zero_mj = call.served.metrics.energy.zero_mj
        latency_s = time.monotonic() - call.started
        outcomes = stack_outcomes([*known.values()])
        call.deliver(
            RowAnswers(
                [*known], outcomes, range(len(known)), "cache", True, 0, zero_mj, latency_s,
                similar=True,
            )
        )  # fmt: skip
    return [row for row in missing if row not in known], probes


def count_perceptual(routes: Iterable[ServedRoute]) -> Mapping[str, Mapping[str, int]]:
    """Return the counts of every route that is opted in; its versions' counts are added up."""
    versions: dict[str, list[PerceptualRoute]] = {}
    for served in routes:
        if served.similar is not None:
            versions.setdefault(served.name, []).append(served.similar)
    return {route: _count(similars) for route, similars in versions.items()}


def _count(similars: Sequence[PerceptualRoute]) -> Mapping[str, int]:
    held = [similar.memory.counts() for similar in similars]
    return {
        **asdict(similars[0].counts),
        "off": sum(not similar.on for similar in similars),
        "entries": sum(counts.entries for counts in held),
        "bytes": sum(counts.size_bytes for counts in held),
    }

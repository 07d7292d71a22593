"""What doors say about traced requests: where a trace meets the engine, and how it ends."""

from collections.abc import Iterable, Sequence

from core.messages import Answer
from monitoring.tracing.traces import Trace
from serving.engine.admission import Admitted


def follow(trace: Trace, admitted: Admitted) -> Admitted:
    """The request is read and admitted; from here on the engine notes what becomes of it."""
    if not trace.is_recording:
        return admitted
    served, rows = admitted.served, len(admitted.keys)
    trace.end_span("decode", rows=rows)
    trace.describe(route=served.name, version=served.version, rows=rows)
    return admitted._replace(trace=trace)


def end_answered(admitted: Admitted, answers: Sequence[Answer]) -> None:
    """The answers are written; each is an example of how long its exit takes."""
    trace = admitted.trace
    if not trace.is_recording:
        return
    trace.end_span("encode", rows=len(answers))
    trace.describe(
        exit=_join(answer.outcome.exit for answer in answers),
        stopped_by=_join(answer.stopped_by for answer in answers),
    )
    for answer in answers:
        admitted.served.metrics.add_exemplar(answer.outcome.exit, answer.latency_s, trace.id)
    trace.end()


def _join(words: Iterable[str]) -> str:
    """The different ones, in order of their names: requests that ended alike say the same."""
    return ",".join(sorted(set(words)))

"""Joins a request's trace to the engine, and ends it with the facts of the reply, which the access
log notes too.
"""

from collections.abc import Iterable, Sequence

from core.messages import Reply
from monitoring.access_log import note_replies
from monitoring.tracing.traces import Trace
from serving.engine.admission import Admitted


def follow(trace: Trace, admitted: Admitted) -> Admitted:
    """Attach the trace to an admitted request; from here on the engine adds its own notes."""
    if not trace.is_recording:
        return admitted
    served, rows = admitted.served, len(admitted.keys)
    trace.end_span("decode", rows=rows)
    trace.describe(route=served.name, version=served.version, rows=rows)
    return admitted._replace(trace=trace)


def end_answered(admitted: Admitted, replies: Sequence[Reply]) -> None:
    """End the trace after the answers are written; each answer is an example of its exit's time."""
    trace = admitted.trace
    note_replies(replies, trace)
    if not trace.is_recording:
        return
    newest = {
        row: part.answer(place)
        for reply in replies
        for part in reply.parts
        for place, row in enumerate(part.rows)
    }
    answers = [*newest.values()]
    trace.end_span("encode", rows=len(answers))
    trace.describe(
        exit=_join(answer.outcome.exit for answer in answers),
        stopped_by=_join(answer.stopped_by for answer in answers),
    )
    for answer in answers:
        admitted.served.metrics.add_exemplar(answer.outcome.exit, answer.latency_s, trace.id)
    trace.end()


def _join(words: Iterable[str]) -> str:
    """Return the distinct words, sorted: requests that ended alike get the same attribute."""
    return ",".join(sorted(set(words)))

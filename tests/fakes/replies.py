"""Replies of single answers, for tests that do not care how rows were batched."""

from collections.abc import Sequence

from core.columns import stack_outcomes
from core.messages import Answer, Reply, RowAnswers


def reply_with(
    answers: Sequence[Answer],
    route: str = "small",
    version: str = "1",
    digest: str = "ab" * 32,
    *,
    rows: Sequence[int] | None = None,
    final: bool = True,
) -> Reply:
    """A reply with each answer in a part of its own."""
    parts = [
        RowAnswers(
            [row], stack_outcomes([answer.outcome]), [0], answer.stopped_by, answer.cached,
            answer.macs, answer.energy_mj, answer.latency_s, answer.similar,
        )
        for row, answer in zip(rows or range(len(answers)), answers, strict=True)
    ]  # fmt: skip
    return Reply(route, version, digest, "none", "none", parts, rows, final)

"""The benchmark of both forms measures every batch against the dense net."""

from benchmarks.token_execution import SPEC, measure
from tokens.acm.network import AcmSettings


def test_every_batch_is_measured() -> None:
    cases = measure(AcmSettings(shared_gate=True), 1, (1, 2))
    assert [case.tokens for case in cases] == [SPEC.tokens, 2 * SPEC.tokens]
    for case in cases:
        assert min(case.dense_ms, case.masked, case.sorted) > 0
        assert 0.2 < case.macs < 1.1

"""Who is followed: those whose caller follows them, and a share of the others."""

import pytest

from monitoring.tracing.sampling import NO_TRACING, ParentSpan, Sampling, read_traceparent
from monitoring.tracing.traces import NO_TRACE, SampledTrace, Trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
BAD = [
    "",
    "00",
    "nonsense",
    GOOD.upper(),
    GOOD[:-1],
    GOOD + "-more",  # version 00 has four fields
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[1:]}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-zz",
    f"00_{TRACE}_{SPAN}_01",
    f"{GOOD}, {GOOD}",
    f"01-{TRACE}-{SPAN}-01-" + "x" * 10_000,
    "00-٠" + TRACE[1:] + f"-{SPAN}-01",  # a digit, but none of ours
]


def begin(ratio: float, **headers: str) -> Trace:
    sampling = Sampling(ratio, lambda _: None)
    return sampling.start_from_headers(
        {key.encode(): value.encode() for key, value in headers.items()}
    )


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_traceparent_counts_as_none(text: str) -> None:
    assert read_traceparent(text) is None
    assert begin(0.0, traceparent=text) is NO_TRACE
    followed = begin(1.0, traceparent=text)
    assert followed.is_recording
    assert followed.id != TRACE


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f" {GOOD}\t", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),  # a flag that says something else
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01-what-is-to-come", True),  # a later version
    ],
)
def test_a_traceparent_is_read_and_its_caller_decides(text: str, sampled: bool) -> None:
    assert read_traceparent(text) == ParentSpan(int(TRACE, 16), int(SPAN, 16), sampled)
    for ratio in (0.0, 1.0):
        trace = begin(ratio, traceparent=text)
        assert trace.is_recording == sampled
        assert trace.id == (TRACE if sampled else "")


def test_a_share_of_those_without_a_parent_is_followed() -> None:
    sampling = Sampling(0.25, lambda _: None)
    followed = sum(sampling.start_from_headers({}).is_recording for _ in range(4000))
    assert 800 < followed < 1200  # seven standard deviations
    assert not any(begin(0.0).is_recording for _ in range(1000))
    assert all(begin(1.0).is_recording for _ in range(1000))


def test_traces_without_a_parent_have_ids_of_their_own() -> None:
    assert len({begin(1.0).id for _ in range(100)}) == 100


def test_metadata_is_read_as_headers_are() -> None:
    sampling = Sampling(0.0, lambda _: None)
    pairs: list[tuple[str, str | bytes]] = [("user-agent", "x"), ("traceparent", GOOD)]
    trace = sampling.start_from_metadata(lambda: pairs)
    assert isinstance(trace, SampledTrace)
    assert (trace.id, trace.parent) == (TRACE, int(SPAN, 16))
    assert sampling.start_from_metadata(lambda: [("traceparent", GOOD.encode())]) is NO_TRACE
    assert sampling.start_from_metadata(lambda: []) is NO_TRACE


def test_switched_off_nobody_is_followed_and_no_metadata_is_read() -> None:
    def read() -> list[tuple[str, str | bytes]]:
        raise AssertionError

    assert NO_TRACING.start_from_metadata(read) is NO_TRACE
    assert NO_TRACING.start_from_headers({b"traceparent": GOOD.encode()}) is NO_TRACE

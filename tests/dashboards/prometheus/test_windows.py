"""Durations in Prometheus' words, at a time scale; and options that make no sense are refused."""

import pytest

from dashboards.prometheus.make_rules import read_options
from dashboards.prometheus.windows import Windows, format_ms, parse_ms


@pytest.mark.parametrize(
    ("duration", "scaled"),
    [("5m", "5s"), ("1h", "1m"), ("6h", "6m"), ("3d", "1h12m"), ("30s", "500ms"), ("0s", "0s")],
)
def test_at_scale_60_an_hour_is_a_minute(duration: str, scaled: str) -> None:
    assert Windows(60)(duration) == scaled
    assert Windows()(duration) == duration


def test_no_duration_becomes_none_at_all() -> None:
    assert Windows(100_000)("1s") == "1ms"


@pytest.mark.parametrize("duration", ["1h30m", "1d1s", "250ms", "2m3s4ms"])
def test_what_is_written_is_what_was_read(duration: str) -> None:
    assert format_ms(parse_ms(duration)) == duration


@pytest.mark.parametrize("duration", ["", "5", "m", "5 m", "1y", "-1h", "1h!"])
def test_what_is_no_duration_is_refused(duration: str) -> None:
    with pytest.raises(ValueError, match="duration: given"):
        parse_ms(duration)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scale", "0"], "scale: given 0.0, allowed 0.001 to 100000"),
        (["--availability", "1"], "availability: given 1.0, allowed 0.5 to below 1"),
        (["--latency", "99"], "latency: given 99.0"),
        (["--latency-s", "0.07"], "latency_s: given 0.07, allowed 0.0001, 0.00025"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_options(arguments)
    assert words in capsys.readouterr().err

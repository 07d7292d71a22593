"""Which format a scraper gets."""

import pytest

from monitoring.metrics.accept_header import prefers_openmetrics

OPEN = "application/openmetrics-text"
PROMETHEUS = (
    f"{OPEN};version=1.0.0;escaping=allow-utf-8;q=0.5,{OPEN};version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    "accept",
    [PROMETHEUS, OPEN, f"{OPEN}; version=1.0.0", f"text/plain;q=0.5, {OPEN.upper()} ; q=0.5"],
)
def test_who_prefers_openmetrics_gets_it(accept: str) -> None:
    assert prefers_openmetrics(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "text/plain",
        "application/*",
        f"{OPEN};q=0",
        f"{OPEN};q=much",
        f"{OPEN};q=nan",
        f"{OPEN};q=0.2,text/plain;q=0.9",
        f"x{OPEN}",
        ";;,,q=1",
    ],
)
def test_all_others_get_the_older_text(accept: str) -> None:
    assert not prefers_openmetrics(accept)

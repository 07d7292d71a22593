"""The page of a verdict: one file, with its table and its plot."""

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from importing.verdict import Verdict, VerdictRow
from importing.verdict_page import HEIGHT, WIDTH, make_page

LARGE = VerdictRow(
    name="large",
    precision="float32",
    members=("large",),
    accuracy=0.912,
    us_per_row=1862,
    macs=1.18e8,
    size_bytes=4_700_000,
    difference=0.0,
    low=-0.003,
    high=0.003,
    mj_per_row=9.1,
)
TWIN = replace(LARGE, name="large-int8", precision="int8", accuracy=0.911, us_per_row=479)
CASCADE = replace(
    LARGE,
    name="cascade",
    members=("small", "large-int8"),
    accuracy=0.909,
    us_per_row=240,
    chosen=True,
    mj_per_row=None,
)


def _make_verdict(*rows: VerdictRow) -> Verdict:
    return Verdict(rows, "large", 0.01, 500, 500, "Serve <it> & go.", ("a note",), "not measured")


def _read_plot(page: str) -> ElementTree.Element:
    (plot,) = re.findall("<svg .*</svg>", page)
    return ElementTree.fromstring(plot)


def test_it_has_the_sentence_a_row_for_each_way_and_no_outside_parts() -> None:
    page = make_page("pets", _make_verdict(LARGE, TWIN, CASCADE))
    assert "Serve &lt;it&gt; &amp; go." in page
    assert page.count("<tr") == 4
    assert re.findall(r'<tr class="chosen"><td>([^<]+)</td><td>([^<]+)</td>', page) == [
        ("small → large-int8", "90.90%")
    ]
    assert "Energy is not measured." in page
    assert "<li>a note</li>" in page
    assert not re.search(r"(src|href)=|@import|url\(", page)


@pytest.mark.parametrize(
    "rows",
    [
        (LARGE, TWIN, CASCADE),
        (LARGE,),
        (replace(LARGE, accuracy=0.0, us_per_row=0.4), replace(TWIN, accuracy=1.0)),
    ],
)
def test_every_dot_and_name_is_inside_the_plot(rows: tuple[VerdictRow, ...]) -> None:
    plot = _read_plot(make_page("pets", _make_verdict(*rows)))
    dots = plot.findall("circle")
    assert len(dots) == len(rows)
    for dot in dots:
        assert 0 < float(dot.get("cx", "")) < WIDTH
        assert 0 < float(dot.get("cy", "")) < HEIGHT
    for text in plot.findall("text"):
        assert float(text.get("y", "0")) <= HEIGHT


def test_names_do_not_stand_on_each_other() -> None:
    alike = [replace(LARGE, name=f"net{place}") for place in range(4)]
    plot = _read_plot(make_page("pets", _make_verdict(*alike, LARGE)))
    heights = sorted(
        float(text.get("y", "")) for text in plot.findall("text") if (text.text or "")[:3] == "net"
    )
    assert all(after - before >= 13 for before, after in itertools.pairwise(heights))

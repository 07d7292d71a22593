"""What an import prints: joules only where a meter measured them."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from importing.route import Imported
from importing.verdict import Verdict, VerdictRow
from sparing.model_tables import show_imported

ROW = VerdictRow(
    name="net",
    precision="float32",
    members=("net",),
    accuracy=0.9,
    us_per_row=10,
    macs=1,
    size_bytes=1,
    difference=0.0,
    low=-0.01,
    high=0.01,
    chosen=True,
    mj_per_row=4.25,
)


@pytest.mark.parametrize("has_meter", [True, False])
def test_joules_are_a_column_where_they_were_measured(has_meter: bool) -> None:
    verdict = Verdict((ROW,), "net", 0.01, 50, 50, "Serve net.", (), "a clause", has_meter)
    console = Console(file=io.StringIO(), width=100)
    show_imported(Imported(verdict, None, (), verdict.sentence), console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert ("mJ/row" in printed) == ("4.25" in printed) == has_meter
    assert "Energy: a clause." in printed


def test_joules_that_are_not_known_are_named() -> None:
    rows = (ROW, replace(ROW, name="other", chosen=False, mj_per_row=None))
    verdict = Verdict(rows, "net", 0.01, 50, 50, "Serve net.", (), "a clause", has_meter=True)
    console = Console(file=io.StringIO(), width=100)
    show_imported(Imported(verdict, None, (), verdict.sentence), console)
    assert isinstance(console.file, io.StringIO)
    assert "unknown" in console.file.getvalue()

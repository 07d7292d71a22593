"""The verdict as one HTML file without outside parts: the sentence, a plot, and the table."""

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from importing.verdict import Verdict, VerdictRow

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 20, 48  # around the plot
TICKS = 5  # of an axis, about
LETTER_WIDTH, LINE_HEIGHT, GAP = 6.5, 14, 10  # of names in the plot
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1f2328;background:#fff}table{border-collapse:collapse}th,td{padding:.3rem .8rem;"
    "text-align:right;border-bottom:1px solid #d0d7de}td:first-child{text-align:left}"
    "tr.chosen{font-weight:600;background:#eef4ff}svg{max-width:100%;height:auto}"
    "svg text{font:12px system-ui,sans-serif;fill:#1f2328}small{color:#57606a}"
)


def make_page(name: str, verdict: Verdict) -> str:
    """Return the page of the route `name`."""
    facts = [
        f"Chosen on {verdict.choosing_rows:,} rows, tested once on {verdict.test_rows:,} others. "
        f"Differences are from {verdict.reference}, with their 95 % intervals."
    ]
    if verdict.energy:
        facts.append(f"Energy is {verdict.energy}.")
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in verdict.notes)
    title = html.escape(f"Import of {name}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p><strong>{html.escape(verdict.sentence)}</strong></p>{_draw(verdict)}"
        f"{_make_table(verdict)}<p><small>{html.escape(' '.join(facts))}</small></p>"
        f"{f'<ul>{notes}</ul>' if notes else ''}</body></html>\n"
    )


def _make_table(verdict: Verdict) -> str:
    columns = ["", "accuracy", "µs a row", "mJ a row", "MACs", "kB", "difference"]
    lines = [f"<tr>{''.join(f'<th>{column}</th>' for column in columns)}</tr>"]
    for row in verdict.rows:
        difference = (
            "reference"
            if row.name == verdict.reference
            else f"{row.difference * 100:+.1f} ({row.low * 100:+.1f} to {row.high * 100:+.1f})"
        )
        cells = [
            _label(row),
            f"{row.accuracy:.2%}",
            f"{row.us_per_row:,.0f}",
            "unknown" if row.mj_per_row is None else f"{row.mj_per_row:,.3g}",
            f"{row.macs:,.0f}",
            f"{row.size_bytes / 1000:,.0f}",
            difference,
        ]
        kind = ' class="chosen"' if row.chosen else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _label(row: VerdictRow) -> str:
    return " → ".join(row.members) if len(row.members) > 1 else row.name


def _draw(verdict: Verdict) -> str:
    """Draw accuracy against time: a dot for each way to serve, the chosen one filled."""
    x = _Axis([0.0, *(row.us_per_row for row in verdict.rows)], LEFT, WIDTH - RIGHT)
    y = _Axis([row.accuracy * 100 for row in verdict.rows], HEIGHT - BOTTOM, TOP)
    parts = [*_draw_axes(x, y)]
    taken: list[_Name] = []
    for row in sorted(verdict.rows, key=lambda row: -row.accuracy):
        at = x.place(row.us_per_row), y.place(row.accuracy * 100)
        name = _find_room(_label(row), at, taken)
        taken.append(name)
        parts += _draw_row(row, at, name)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="accuracy against time">{"".join(parts)}</svg>'
    )


class _Axis:
    """Maps values to places from `first` to `last`, with a few round ticks around all of them."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        low, high = min(values), max(values)
        self.step = _find_step(max(high - low, abs(high) / 100, 1e-6))
        self.low = math.floor(low / self.step) * self.step
        self.high = (math.floor(high / self.step) + 1) * self.step
        self._first, self._last = first, last

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> Iterator[float]:
        count = round((self.high - self.low) / self.step)
        return (self.low + self.step * number for number in range(count + 1))


def _find_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the smallest that divides a span into few parts."""
    unit = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(unit * times for times in (1, 2, 5, 10) if unit * times * TICKS >= span)


def _draw_axes(x: _Axis, y: _Axis) -> Iterator[str]:
    bottom, left = HEIGHT - BOTTOM, LEFT
    for value in x.ticks():
        place = f"{x.place(value):.1f}"
        yield f'<line x1="{place}" y1="{TOP}" x2="{place}" y2="{bottom}" stroke="#eaeef2"/>'
        yield f'<text x="{place}" y="{bottom + 18}" text-anchor="middle">{value:,.4g}</text>'
    for value in y.ticks():
        height = y.place(value)
        yield (
            f'<line x1="{left}" y1="{height:.1f}" x2="{WIDTH - RIGHT}" y2="{height:.1f}" '
            'stroke="#eaeef2"/>'
        )
        yield f'<text x="{left - 8}" y="{height + 4:.1f}" text-anchor="end">{value:.4g}</text>'
    yield (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">CPU time a '
        "row, µs</text>"
    )
    yield (
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">correct, '
        "%</text>"
    )


@dataclass(frozen=True, slots=True)
class _Name:
    """A name in the plot: where it begins and ends, its height, and the side that its dot is on."""

    left: float
    right: float
    y: float
    is_left_of_dot: bool


def _find_room(text: str, at: tuple[float, float], taken: Sequence[_Name]) -> _Name:
    """Place a name beside its dot, on the side with room, below the names that are there."""
    x, y = at
    width, is_left = len(text) * LETTER_WIDTH, x > WIDTH / 2
    left = x - GAP - width if is_left else x + GAP
    for other in sorted(taken, key=lambda name: name.y):
        beside = other.left < left + width and left < other.right
        if beside and abs(other.y - y) < LINE_HEIGHT:
            y = other.y + LINE_HEIGHT
    return _Name(left, left + width, y, is_left)


def _draw_row(row: VerdictRow, at: tuple[float, float], name: _Name) -> Iterator[str]:
    x, y = at
    fill, line = ("#2f6fb0", "#2f6fb0") if row.chosen else ("#fff", "#57606a")
    yield (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="{line}" stroke-width="2"/>'
    )
    text_x, anchor = (name.right, "end") if name.is_left_of_dot else (name.left, "start")
    yield (
        f'<text x="{text_x:.1f}" y="{name.y + 4:.1f}" text-anchor="{anchor}">'
        f"{html.escape(_label(row))}</text>"
    )

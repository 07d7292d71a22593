"""Arrival times of requests: a CSV file, and what to make of each of its rows.

Rows of one timestamp, and the requests that one row stands for, are spread evenly at random up to
the next timestamp: many traces have coarse clocks, and one recorded caller may stand for many. That
keeps every burst of the trace. With a time to spread over instead, requests of many independent
callers keep only the trace's rate over that time.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TIME_COLUMNS = ("time_s", "arrival_s", "timestamp_ms", "timestamp", "time")
MAX_REQUESTS = 50_000_000


def read_trace(path: Path) -> Floats:
    """Return the arrival times of a CSV file in seconds since the first, sorted, shape [N].

    Takes the column with a name of `TIME_COLUMNS`, else the first. A value is a number of seconds,
    of milliseconds in a column whose name ends in `_ms`, or a date and time. Raises ValueError with
    one sentence.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            times = sorted(_read_times(path, csv.reader(file)))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from error
    if not times:
        raise ValueError(f"{path}: has no arrival times")
    found: Floats = np.array(times)
    found -= found[0]
    return found


def expand(
    times_s: Floats, requests_per_row: int, speed: float, seed: int, spread_s: float | None = None
) -> Floats:
    """Return sorted arrival times of `requests_per_row` requests for each row, `speed` times
    faster, shape [N * requests_per_row]; with `spread_s`, at random within so many seconds after
    the row. Raises ValueError if there would be too many.
    """
    requests = len(times_s) * requests_per_row
    if requests > MAX_REQUESTS:
        raise ValueError(
            f"--requests-per-row: {requests:,} requests are too many, allowed {MAX_REQUESTS:,}"
        )
    starts, counts = np.unique(times_s / speed, return_counts=True)
    counts = counts * requests_per_row
    gaps = np.diff(starts)
    gaps = np.append(gaps, gaps.mean() if len(gaps) else 0.0)
    places = np.random.default_rng([seed, 0]).random(requests)
    if spread_s is None:
        places[np.repeat(counts == 1, counts)] = 0.0  # alone at its time: exactly there
    else:
        gaps = np.full(len(starts), spread_s)
    spread = np.repeat(starts, counts) + places * np.repeat(gaps, counts)
    return np.sort(spread)


def _read_times(path: Path, rows: Iterator[Sequence[str]]) -> Iterator[float]:
    column, scale = 0, 1.0
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        if number == 1 and (found := _find_column(row)) is not None:
            column = found
            scale = 1e-3 if row[column].strip().lower().endswith("_ms") else 1.0
            continue
        try:
            yield _read_time(row[column]) * scale
        except (IndexError, ValueError):
            given = row[column] if column < len(row) else ""
            raise ValueError(
                f"{path}, line {number}: given {given!r}, allowed a number of seconds or a date "
                "and time"
            ) from None


def _find_column(row: Sequence[str]) -> int | None:
    """Return the column of times if this row is a heading, else None."""
    names = [cell.strip().lower() for cell in row]
    for name in TIME_COLUMNS:
        if name in names:
            return names.index(name)
    try:
        _read_time(row[0])
    except ValueError:
        return 0
    return None


def _read_time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()).timestamp()
    if not math.isfinite(value):
        raise ValueError(text)
    return value

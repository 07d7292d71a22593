"""The duplicates experiment asks what it says, and its verdicts follow from the samples."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from benchmarks.duplicates import (
    NO_MEMORY,
    OFF,
    ON,
    WORKLOADS,
    System,
    Workload,
    make_report,
    make_workload,
    run_cell,
)
from harness.live_server import ROOT
from harness.load.once import ask_once
from harness.results import Results, Sample
from harness.tiny_routes import make_pictures

ROWS = 40
PICTURES = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(ROWS)


def count_same(asked: list[bytes], pictures: np.ndarray) -> list[int]:
    return [asked.count(picture.tobytes()) for picture in pictures]


@pytest.mark.parametrize("load", WORKLOADS, ids=lambda load: load.name)
def test_every_picture_comes_once_and_the_share_once_more(load: Workload) -> None:
    asked, labels = make_workload(load, PICTURES, LABELS)
    again = int(load.share * ROWS)
    assert len(asked) == len(labels) == ROWS + again
    times = count_same([picture.tobytes() for picture in asked], PICTURES)
    assert set(times) <= {1, 2}
    assert sum(times) == ROWS + (0 if load.turned else again)
    assert sorted(labels.tolist()) == sorted([*range(ROWS), *labels_twice(labels)])
    if load.share:  # shuffled: repeats are not all at the end
        assert labels.tolist() != sorted(labels.tolist())


def labels_twice(labels: np.ndarray) -> list[int]:
    values, counts = np.unique(labels, return_counts=True)
    return [int(value) for value in values[counts == 2]]


def test_a_turned_repeat_has_the_same_pixels_in_another_order() -> None:
    asked, labels = make_workload(Workload("", 1.0, turned=True), PICTURES, LABELS)
    for picture, label in zip(asked, labels, strict=True):
        assert np.array_equal(np.sort(picture.ravel()), np.sort(PICTURES[label].ravel()))


def test_a_pass_over_a_real_server_counts_device_time_and_what_memory_answered(
    tmp_path: Path,
) -> None:
    pictures = make_pictures(6, seed=1)
    asked = [*pictures, *pictures]
    for settings, connections, remembered in ((NO_MEMORY, 4, 0.0), ("", 1, 0.5)):
        system = System("", False, settings, connections)
        found = run_cell(
            ROOT / "models", "fashion-mnist", system, asked, np.zeros(12, np.int64), tmp_path
        )
        assert found["remembered"] == pytest.approx(remembered)
        assert found["requests"] == 12
        assert found["device_us"] > 0
        assert 0 <= found["accuracy"] <= 1


def test_an_answer_other_than_200_ends_the_pass_with_its_words() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ExceptionGroup) as caught:
                await ask_once(port, [b"GET / HTTP/1.1\r\n\r\n"], 1)
            assert caught.group_contains(RuntimeError, match="answered 503: b'busy'")

    asyncio.run(scenario())


def measured(dual: float, memory: float) -> Results:
    costs = {
        "large, one by one": (1200.0, 1200.0, 1200.0),
        "large": (1000.0, 1000.0, 1000.0),
        "dual": (dual, dual, dual),
        "dual + memory": (dual, dual * 0.75, memory),
        "dual + memory + similar": (dual, dual * 0.75, memory),
    }
    samples = []
    for system, values in costs.items():
        for load in WORKLOADS:
            value = values[round(2 * load.share)]
            facts = {"device_us": value, "cpu_us": value, "accuracy": 0.9, "remembered": 0.0}
            samples += [
                Sample(f"{system} @ {load.name}", run, metric, number)
                for run in range(2)
                for metric, number in facts.items()
            ]
    samples += [
        Sample(case, run, "cpu_us", value)
        for case, value in ((OFF, dual), (ON, dual * 1.008))
        for run in range(2)
    ]
    return Results({}, samples)


def test_targets_are_judged_by_the_samples() -> None:
    report = make_report("cifar10")
    assert [row.met for row in report.judge(measured(180, 90))] == [True] * 6
    assert [row.met for row in report.judge(measured(220, 110))] == [False] * 2 + [True] * 4

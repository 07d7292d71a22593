"""A worker's answers on its line: a sign of life, and what is stuck in it."""

import asyncio
import socket

from monitoring.metrics.collector import Metrics
from monitoring.metrics.exposition import write_scrape
from monitoring.metrics.snapshot import unpack
from monitoring.metrics.switched_off import NoMetrics
from serving.process.parent_process import Started
from serving.process.pipe import Message, open_pipe, read_message, write_message
from serving.process.worker_main import Supervisor

STARTED = Started("tiny v1", "127.0.0.1", 1, 2)


def test_a_check_is_answered_with_what_is_stuck_and_the_end_of_the_line_is_the_end() -> None:
    async def main() -> list[Message]:
        ours, theirs = socket.socketpair()
        faults = iter(["", "stage large is stuck"])
        stop = asyncio.Event()
        attending = asyncio.create_task(
            Supervisor(theirs, 1).report_ready(STARTED, NoMetrics(), stop, lambda: next(faults))
        )
        reader, writer = await open_pipe(ours)
        answers: list[Message] = []
        for _ in range(2):
            writer.write(write_message({"kind": "check"}))
            while (message := await read_message(reader)) is not None:
                if message["kind"] == "alive":
                    answers.append(message)
                    break
        writer.close()
        await attending
        assert stop.is_set()
        return answers

    answers = asyncio.run(asyncio.wait_for(main(), 30.0))
    assert [one["stuck"] for one in answers] == ["", "stage large is stuck"]


def test_what_a_worker_counted_is_told_as_a_snapshot_that_can_be_written() -> None:
    async def main() -> list[Message]:
        ours, theirs = socket.socketpair()
        metrics = Metrics()
        metrics.count_request("gone", "UnknownRoute")
        attending = asyncio.create_task(
            Supervisor(theirs, 1).report_ready(STARTED, metrics, asyncio.Event(), str)
        )
        reader, writer = await open_pipe(ours)
        told: list[Message] = []
        writer.write(write_message({"kind": "count"}))
        while len(told) < 2 and (message := await read_message(reader)) is not None:
            told += [message] if message["kind"] == "counts" else []
        writer.close()
        await attending
        return told

    for message in asyncio.run(asyncio.wait_for(main(), 30.0)):
        text, _ = write_scrape(unpack(message["counts"]))
        assert b'sparing_requests_total{result="UnknownRoute",route=""} 1.0' in text

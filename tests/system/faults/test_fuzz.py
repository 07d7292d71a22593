"""Mutated conversations with a real server: all end well, and valid ones in between are right.

The long run is `python -m reliability.fuzz`; a fault's number makes it again there.
"""

from pathlib import Path

import pytest
import uvloop

from harness.live_server import LiveServer
from harness.text_route import write_text_route
from harness.tiny_routes import write_route
from reliability.fuzz.clients import GridSums, Plan
from reliability.fuzz.run import SETTINGS, fuzz, judge
from reliability.pace import Stop
from reliability.samples import make_samples

CONVERSATIONS = 20_000


@pytest.mark.slow
def test_twenty_thousand_mutated_conversations_end_well_and_leave_no_mark(tmp_path: Path) -> None:
    write_route(tmp_path)
    write_text_route(tmp_path)
    tally = GridSums()
    with LiveServer(tmp_path, SETTINGS) as server:
        plan = Plan(seed=2, count=CONVERSATIONS, limit_s=60.0)
        samples = make_samples(tmp_path, 4)
        watch = uvloop.run(fuzz(server, samples, plan, tally, Stop()))
        assert judge(tally, watch, server.log.read_text(errors="replace")) == []
    assert tally.done == CONVERSATIONS
    assert {"http 200", "http 400", "grpc 0", "grpc 3"} <= set(tally.ended)

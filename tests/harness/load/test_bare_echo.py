"""The bare echo sends back what came."""

import dataclasses

from harness.load.loadgen import load_http
from harness.servers import run_bare_echo
from tests.harness.load.test_loadgen import PLAN, SAME, run_quickly


def test_the_bare_echo_sends_back_what_came() -> None:
    with run_bare_echo() as server:
        plan = dataclasses.replace(PLAN, count=2000, server_pid=server.pid)
        load = run_quickly(load_http(plan, SAME, server.http_port, "/raw"))
    assert (load.errors, load.wrong) == (0, 0)
    assert load.cpu_us is not None and load.cpu_us > 0

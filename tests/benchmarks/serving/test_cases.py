"""The benchmark's cases against our real server: every answer is right, and checked."""

import dataclasses
from pathlib import Path

import pytest
import uvloop

from benchmarks.serving.cases import (
    SETTINGS,
    Case,
    build_cascade_cases,
    build_grpc_cases,
    build_http_cases,
    build_picture_cases,
    make_no_op_reply,
)
from harness import small_cnn
from harness.load.loadgen import Load, Plan, load_http
from harness.load.rpc import load_grpc
from harness.load.traffic import Traffic
from harness.servers import Server, run_echo, run_no_op, run_sparing
from harness.tiny_routes import make_pictures, write_route

PLAN = Plan(connections=4, seconds=30.0, warm_up_s=0.0, count=60)


def load(case: Case, server: Server) -> Load:
    plan = dataclasses.replace(PLAN, connections=min(4, case.connections))
    if case.method:
        return uvloop.run(load_grpc(plan, case.traffic, server.grpc_port, case.method))
    return uvloop.run(load_http(plan, case.traffic, server.http_port, case.path, case.headers))


def test_every_case_is_answered_rightly_and_a_wrong_label_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, settings, reply = tmp_path / "models", tmp_path / "s.toml", tmp_path / "reply.bin"
    small_cnn.write_small_cnn(models)
    write_route(models, route="fashion-mnist")
    write_route(models, route="fashion-mnist-large", stages=1)
    settings.write_text(SETTINGS["no-memory"])
    monkeypatch.setattr(
        "benchmarks.serving.cases.load_pictures", lambda: (make_pictures(100), None)
    )
    with run_sparing(models, settings) as server, run_echo() as echo:
        reply.write_bytes(make_no_op_reply(server))
        with run_no_op(reply) as no_op:
            servers = dict.fromkeys(SETTINGS, server) | {"echo": echo, "no-op": no_op}
            cases = build_http_cases(servers, models) + build_grpc_cases(servers, models)
            cases += build_picture_cases(models)
            cases += build_cascade_cases(servers, models, limit=50)
            loads = {case.name: load(case, servers[case.server]) for case in cases}
            bodies, expected = cases[0].traffic.bodies, cases[0].traffic.expected
            shifted = Traffic(bodies, [*expected[1:], expected[0]], cases[0].traffic.offset)
            wrong = load(dataclasses.replace(cases[0], traffic=shifted), server).wrong
    assert len(loads) == 15
    assert {name: (one.errors, one.wrong) for name, one in loads.items()} == dict.fromkeys(
        loads, (0, 0)
    )
    assert wrong > 10

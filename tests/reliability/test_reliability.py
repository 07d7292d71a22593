"""The long runs' own parts: what is said is repeatable, and what is wrong is noticed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.devices.onnx import OnnxDevice
from harness.text_route import write_text_route
from harness.tiny_routes import write_route
from reliability.fuzz.mix import MIX, make_conversation
from reliability.fuzz.shrink import shrink
from reliability.long import find_cases, run_case
from reliability.samples import make_samples
from reliability.soak.asks import Rows, check_rows
from reliability.soak.reloads import Reloads
from reliability.watch import Held, find_errors, growth_bytes, slope_bytes_h
from reliability.wire import http2
from reliability.wire.conversation import Call, Conversation, HttpReply
from reliability.wire.judging import judge_http, judge_rpc
from reliability.wire.rpc_wire import RpcReply, RpcWire
from reliability.wire.wire import Malformed, Wire, take_reply
from routes.loading import find_routes, load_route

MIB = 2**20


def answer(status: int, body: bytes, headers: bytes = b"") -> bytearray:
    head = b"HTTP/1.1 %d Some\r\ncontent-length: %d\r\n%s\r\n" % (status, len(body), headers)
    return bytearray(head + body)


def test_a_number_and_a_seed_make_the_same_conversation_and_all_kinds_come(tmp_path: Path) -> None:
    write_route(tmp_path)
    write_text_route(tmp_path)
    samples = make_samples(tmp_path, 2)
    kinds = set()
    for number in range(300):
        conversation = make_conversation(5, number, samples)
        again = make_conversation(5, number, samples)
        assert conversation.raw == again.raw
        assert (conversation.kind, conversation.ends) == (again.kind, again.ends)
        kinds.add(conversation.kind)
    assert len(kinds) >= len(MIX) - 3  # several makers make valid ones


def test_answers_are_read_one_by_one_and_strictly() -> None:
    buffer = answer(200, b"abc") + answer(400, b"")
    assert take_reply(buffer) == HttpReply(200, {b"content-length": b"3"}, b"abc")
    assert take_reply(buffer) == HttpReply(400, {b"content-length": b"0"}, b"")
    assert take_reply(buffer) is None
    assert take_reply(answer(200, b"abc")[:-1]) is None
    for bad in (
        bytearray(b"HTTP/1.1 200 OK\r\n\r\n"),
        bytearray(b"abc\r\n\r\n"),
        answer(200, b"", b"content-length: 5\r\n"),
        answer(200, b"", b"a b: c\r\n"),
    ):
        with pytest.raises(Malformed):
            take_reply(bad)


@pytest.mark.parametrize(
    ("status", "body", "timed", "word"),
    [
        (200, b"", False, ""),
        (400, b'{"error":"a sentence of words"}', False, ""),
        (400, b"no", False, "without a sentence"),
        (400, b'{"error":"a line\\nand another"}', False, "characters"),
        (500, b'{"error":"the server failed"}', False, "status 500"),
        (504, b'{"error":"a sentence of words"}', True, ""),
        (504, b'{"error":"a sentence of words"}', False, "status 504"),
    ],
)
def test_answers_outside_of_the_allowed_set_are_faults(
    status: int, body: bytes, timed: bool, word: str
) -> None:
    conversation = Conversation("x", [b""], timed=timed)
    fault = judge_http(conversation, [HttpReply(status, {}, body)], lost=False)
    assert (fault == "") == (word == "")
    assert word in fault


def test_a_valid_request_that_gets_another_answer_or_none_is_a_fault() -> None:
    right = Conversation("valid", [b""], rights=[lambda reply: "" if reply.body == b"a" else "no"])
    assert judge_http(right, [HttpReply(200, {}, b"a")], lost=False) == ""
    assert judge_http(right, [HttpReply(200, {}, b"b")], lost=False) == "wrong: no"
    assert "lost" in judge_http(right, [], lost=True)
    refused = HttpReply(400, {}, b'{"error":"a sentence of words"}')
    assert "wrong" in judge_http(right, [refused], lost=False)


def test_calls_without_an_end_a_status_or_with_a_failure_are_faults() -> None:
    call = Conversation("grpc fields", grpc=True, call=Call((), ()))
    assert judge_rpc(call, RpcReply(grpc_status=3)) == ""
    assert "hang" in judge_rpc(call, RpcReply(hung=True))
    assert "without a status" in judge_rpc(call, RpcReply(lost=True))
    assert "status 13" in judge_rpc(call, RpcReply(grpc_status=13))


def test_headers_written_without_a_table_are_read_back() -> None:
    headers = [(b"grpc-status", b"12"), (b"grpc-message", b"m" * 300)]
    block = b"\x20\x88" + http2.pack_headers(headers)
    assert http2.read_headers(block) == {b":status": b"200", **dict(headers)}
    with pytest.raises(ValueError, match="no block"):
        http2.read_headers(block[:-400] + b"\x00\xff")


def test_a_conversation_is_made_smaller_while_it_goes_wrong_alike() -> None:
    async def hold(conversation: Conversation) -> str:
        return "status 500: x" if b"!" in conversation.raw else ""

    long = Conversation("x", [b"a" * 500 + b"!", b"b" * 500])
    small = asyncio.run(shrink(long, "status 500: y", hold))
    assert b"!" in small.raw
    assert len(small.raw) < 50


def test_growth_and_slope_leave_out_the_warm_up() -> None:
    looks = [Held(float(s), (900 if s < 10 else 100 + s) * MIB, 1, 1, 0.0) for s in range(100)]
    assert growth_bytes(looks, 10.0) == pytest.approx(81 * MIB, rel=0.01)
    assert slope_bytes_h(looks, 10.0) == pytest.approx(3600 * MIB, rel=0.01)


def test_a_deadline_may_give_any_stage_that_was_passed_and_nothing_else_may(
    tmp_path: Path,
) -> None:
    write_route(tmp_path, thresholds=[1.0])
    (sample,) = make_samples(tmp_path, 1)
    assert list(sample.stages) == ["stage0", "stage1"]

    def answer_of(stage: str, stopped_by: str) -> dict[str, Any]:
        outputs = {name: array[None] for name, array in sample.stages[stage].items()}
        return outputs | {"exit": [stage], "stopped_by": [stopped_by]}

    cut, plain = Rows([sample], {"timeout_ms": 5.0}), Rows([sample], {})
    assert check_rows(answer_of("stage1", "last_stage"), plain) == ""
    assert check_rows(answer_of("stage0", "deadline"), cut) == ""
    assert "nothing asked for" in check_rows(answer_of("stage0", "deadline"), plain)
    assert "right is" in check_rows(answer_of("stage0", "confidence"), cut)
    assert "does not pass" in check_rows(answer_of("stage0", "energy") | {"exit": ["stage9"]}, cut)


def test_reloads_touch_add_and_remove_whole_versions(tmp_path: Path) -> None:
    root, spare = tmp_path / "models", tmp_path / "spare"
    write_route(root)
    spare.mkdir()
    reloads = Reloads(root, spare, ["tiny"])
    reloads.fill()
    done = {reloads.step().split()[0] for _ in range(20)}
    assert done == {"touched", "removed"}
    assert len(find_routes(root)) == 3
    for directory in find_routes(root):
        assert load_route(directory, OnnxDevice()).manifest.version == directory.name
    assert list(spare.iterdir()) == []


def test_cases_are_right_by_their_exit_code_and_have_a_time_limit(tmp_path: Path) -> None:
    for name, code in {
        "a/01_right.py": "",
        "02_wrong.py": "print('because'); raise SystemExit(1)",
        "03_long.py": "import time; time.sleep(60)",
        "helper.py": "raise SystemExit(1)",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    found = [path.name for path in find_cases(tmp_path)]
    assert found == ["02_wrong.py", "03_long.py", "01_right.py"]
    assert run_case(tmp_path / "a" / "01_right.py", 30.0) == ""
    assert run_case(tmp_path / "02_wrong.py", 30.0) == "exit code 1: because"
    assert "not over" in run_case(tmp_path / "03_long.py", 0.5)


def test_errors_in_a_log_are_found_and_warnings_are_not() -> None:
    log = "12:00:00 INFO a: b\n12:00:01 WARNING a: ERRORS\n"
    assert find_errors(log) == []
    assert "1 errors" in find_errors(log + "12:00:02 ERROR a: b\n  line")[0]
    traceback = "Traceback (most recent call last):\n  File\n"
    assert len(find_errors(log + (traceback + "KeyError\n") * 5)) == 3
    assert find_errors(traceback + "grpc._cython.cygrpc.ExecuteBatchError: Failed\n") == []


def test_room_in_the_windows_that_came_after_a_call_is_there_for_the_next() -> None:
    sent = bytearray()

    class Still(Wire):
        """A server that has said all that it has to say."""

        def write(self, data: bytes) -> None:
            sent.extend(data)

        async def more(self, timeout_s: float) -> bool:
            return False

    async def call() -> None:
        wire = Still()
        client = RpcWire(wire)
        sent.clear()
        wire.buffer += http2.settings([(http2.INITIAL_WINDOW_SIZE, 2**20)])
        wire.buffer += http2.window_update(0, 2**20)
        await client.call(Call([(b":method", b"POST")], [bytes(100_000)]), 1.0)

    asyncio.run(call())
    data = [one for one in http2.split_frames(sent) if one.kind == http2.DATA]
    assert sum(len(one.payload) for one in data) == 100_000

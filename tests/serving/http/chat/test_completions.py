"""Chats over HTTP: whole and streamed, with budgets, and with clients that leave."""

import asyncio
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.columns import Steps
from core.messages import Batch
from harness.waiting import until
from tests.fakes.tiny_vlm import LAYERS, ROUTE, VISUAL_TOKENS, WORDS
from tests.serving.chatting import (
    CHAT,
    COUNT,
    PICTURES,
    QUESTIONS,
    ChatServer,
    expect,
    join,
    make_body,
    make_part,
    serve_chats,
    show,
    text_of,
)
from tokens.vision_language.serving.stages import Decode


def test_a_chat_is_answered_as_by_the_model_alone(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        found = await asyncio.gather(*[server.ask(row=row) for row in range(COUNT)])
        assert [text_of(one) for one in found] == [expect(row) for row in range(COUNT)]
        one = found[0]
        assert (one["object"], one["model"]) == ("chat.completion", ROUTE)
        assert one["choices"][0]["finish_reason"] in {"stop", "length"}
        usage = one["usage"]
        words = len(QUESTIONS[0].split())
        assert usage["prompt_tokens"] == 2 + words + VISUAL_TOKENS
        assert usage["completion_tokens"] == len(text_of(one).split())
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["visual_tokens"] == VISUAL_TOKENS
        assert usage["visual_tokens_by_layer"] == [VISUAL_TOKENS] * LAYERS
        assert 0 < usage["time_to_first_token_ms"] <= usage["latency_ms"]
        assert usage["energy_j"] is None  # this server has no meter

    serve_chats(tmp_path, use)


def test_a_stream_has_each_token_and_then_the_usage(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        options = {"include_usage": True}
        streams = await asyncio.gather(
            *[server.stream(row=row, stream_options=options) for row in range(COUNT)]
        )
        for row, events in enumerate(streams):
            assert {event["object"] for event in events} == {"chat.completion.chunk"}
            assert len({event["id"] for event in events}) == 1
            assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
            assert join(events) == expect(row)
            *texts, end, usage = events
            assert all(event["choices"][0]["finish_reason"] is None for event in texts)
            assert end["choices"][0]["finish_reason"] in {"stop", "length"}
            assert usage["choices"] == []
            assert usage["usage"]["completion_tokens"] == len(expect(row).split())
            assert len(texts) == 1 + len(expect(row).split())
        plain = await server.stream(row=1)
        assert all("usage" not in event for event in plain)

    serve_chats(tmp_path, use)


def test_chats_with_different_budgets_share_batches_and_each_gets_the_answer_it_gets_alone(
    tmp_path: Path,
) -> None:
    averages = [float(VISUAL_TOKENS), 5.0, 9.0, 5.0, 12.0, 9.0, 7.0, float(VISUAL_TOKENS)]

    async def use(server: ChatServer) -> None:
        found = await asyncio.gather(
            *[server.ask(row=row, visual_tokens=averages[row]) for row in range(COUNT)],
            *[server.stream(row=row, visual_tokens=averages[row]) for row in range(COUNT)],
        )
        expected = [expect(row, averages[row]) for row in range(COUNT)]
        assert [text_of(one) for one in found[:COUNT] if isinstance(one, dict)] == expected
        assert [join(one) for one in found[COUNT:] if isinstance(one, list)] == expected
        kept = found[1]["usage"]["visual_tokens_by_layer"] if isinstance(found[1], dict) else []
        assert kept[0] == VISUAL_TOKENS
        assert kept == sorted(kept, reverse=True)
        assert kept[-1] < kept[0]

    serve_chats(tmp_path, use)


def test_a_chat_may_have_turns_several_pictures_and_none(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        turns = [
            show(0),
            {"role": "assistant", "content": "a b"},
            {"role": "user", "content": [make_part(PICTURES[1]), {"type": "text", "text": "c"}]},
        ]
        usage = (await server.ask(messages=turns))["usage"]
        assert usage["visual_tokens"] == 2 * VISUAL_TOKENS
        usage = (await server.ask(messages=[{"role": "user", "content": "a b"}]))["usage"]
        assert usage["visual_tokens"] == 0
        assert usage["prompt_tokens"] == 4

    serve_chats(tmp_path, use)


def test_what_is_drawn_follows_the_seed(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        fields: dict[str, Any] = {"temperature": 2.0, "max_tokens": 12}
        alike = [text_of(await server.ask(**fields, seed=5)) for _ in range(2)]
        assert alike[0] == alike[1]
        # without a seed, the server takes a new one for each request
        assert len({text_of(await server.ask(**fields)) for _ in range(8)}) > 1

    serve_chats(tmp_path, use)


def test_stop_and_length_end_an_answer(tmp_path: Path) -> None:
    row = max(range(COUNT), key=lambda one: len(expect(one)))
    words = expect(row).split()

    async def use(server: ChatServer) -> None:
        stopped = await server.ask(row=row, stop=f" {words[1]}")
        assert text_of(stopped) == words[0]
        assert stopped["choices"][0]["finish_reason"] == "stop"
        assert join(await server.stream(row=row, stop=[f" {words[1]}", "z"])) == words[0]
        cut = await server.ask(row=row, max_completion_tokens=1)
        assert text_of(cut) == words[0]
        assert cut["choices"][0]["finish_reason"] == "length"

    serve_chats(tmp_path, use)


def test_rows_that_wait_for_memory_are_all_answered(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        found = await asyncio.gather(*[server.ask(row=row) for row in range(COUNT)])
        assert [text_of(one) for one in found] == [expect(row) for row in range(COUNT)]

    # memory for two rows
    serve_chats(tmp_path, use, engine={"state_limit_bytes": 20_000})


def test_a_row_that_never_fits_is_refused(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        answer = await server.client.post(CHAT, json=make_body(max_tokens=24))
        assert answer.status_code == 400
        assert "bytes of state" in answer.json()["error"]["message"]

    serve_chats(tmp_path, use, engine={"state_limit_bytes": 10_000})


class Gate:
    """Holds each batch of `decode` back until it may run, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Semaphore(1000)  # while the route warms up
        self.batches = 0
        run = Decode.run

        def wait(stage: Decode, rows: Batch) -> Steps:
            assert self.open.acquire(timeout=10.0)
            self.batches += 1
            return run(stage, rows)

        monkeypatch.setattr(Decode, "run", wait)

    def close(self) -> None:
        self.open = threading.Semaphore(0)
        self.batches = 0


async def _leave_after_first(server: ChatServer, row: int) -> None:
    """Read a stream's first token and reset the connection."""
    host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(host, port)
    body = orjson.dumps(make_body(row, stream=True, max_tokens=24))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await reader.readuntil(b'"role":"assistant"')
    linger = struct.pack("ii", 1, 0)  # what is not sent is dropped, the peer gets a reset
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def test_a_client_that_leaves_frees_its_state_within_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    row = max(range(COUNT), key=lambda one: len(expect(one, max_tokens=24)))
    assert len(expect(row, max_tokens=24).split()) > 3

    async def use(server: ChatServer) -> None:
        gate.close()
        await _leave_after_first(server, row)
        await until(lambda: "ClientGone" in server.assembly.metrics.request_results(ROUTE))
        assert server.memory.reserved_bytes > 0  # its second token is under way
        gate.open.release()
        await until(lambda: server.memory.reserved_bytes == 0)
        assert server.memory.used_bytes == 0
        assert gate.batches == 1
        gate.open.release(1000)
        assert text_of(await server.ask(row=row)) == expect(row)

    serve_chats(tmp_path, use)


def test_clients_that_leave_at_any_time_leave_nothing_behind(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        begun = [
            asyncio.create_task(server.client.post(CHAT, json=make_body(row, max_tokens=24)))
            for row in range(COUNT)
        ]
        await until(lambda: server.memory.reserved_bytes > 0 or all(one.done() for one in begun))
        for one in begun:
            one.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await until(lambda: server.memory.reserved_bytes == 0)
        assert text_of(await server.ask(row=2)) == expect(2)

    serve_chats(tmp_path, use)


def test_a_deadline_gives_the_answer_so_far_or_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    row = max(range(COUNT), key=lambda one: len(expect(one)))

    async def use(server: ChatServer) -> None:
        gate.close()
        cut = await server.ask(row=row, timeout_ms=3000)
        assert text_of(cut) == expect(row).split()[0]
        assert cut["choices"][0]["finish_reason"] == "length"
        assert cut["usage"]["stopped_by"] == "deadline"
        gate.open.release(1000)
        late = await server.client.post(CHAT, json=make_body(timeout_ms=0))
        assert late.status_code == 504
        assert late.json()["error"]["type"] == "server_error"

    serve_chats(tmp_path, use, engine={"reply_margin_s": 2.0})


def test_an_error_in_the_middle_ends_a_stream_with_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    row = max(range(COUNT), key=lambda one: len(expect(one)))
    waits = Decode.run

    def fail(stage: Decode, rows: Batch) -> Steps:
        waits(stage, rows)
        raise RuntimeError("a device fault")

    async def use(server: ChatServer) -> None:
        monkeypatch.setattr(Decode, "run", fail)
        body = make_body(row, stream=True)
        async with server.client.stream("POST", CHAT, json=body) as answer:
            assert answer.status_code == 200
            lines = [line async for line in answer.aiter_lines() if line]
        events = [orjson.loads(line.removeprefix("data: ")) for line in lines]
        assert events[1]["choices"][0]["delta"]["content"] == expect(row).split()[0]
        assert events[-1]["error"]["type"] == "server_error"
        assert gate.batches > 0
        monkeypatch.setattr(Decode, "run", waits)
        assert text_of(await server.ask(row=row)) == expect(row)

    serve_chats(tmp_path, use)


def test_models_lists_the_routes_that_chat(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        found = (await server.client.get("/v1/models")).json()
        assert found["object"] == "list"
        assert [one["id"] for one in found["data"]] == [ROUTE]

    serve_chats(tmp_path, use)


def test_words_of_the_answers_are_those_of_the_vocabulary(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        text = text_of(await server.ask(row=3, temperature=1.0, seed=1, max_tokens=24))
        assert set(text.split()) <= {*WORDS, "<begin>", "<image>", "answer:"}

    serve_chats(tmp_path, use)

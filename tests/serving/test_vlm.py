"""The vision-language route on the other endpoints: gRPC streams, predict, explain, metrics."""

import asyncio
import logging
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc import service_pb2

from harness.tiny_routes import write_route
from monitoring.metrics.generation_counts import TOKENS
from tests.fakes.tiny_vlm import LAYERS, ROUTE, SIZE, VISUAL_TOKENS
from tests.serving.chatting import (
    COUNT,
    PICTURES,
    QUESTIONS,
    ChatServer,
    expect,
    make_png,
    open_chats,
    serve_chats,
    text_of,
)
from tokens.vision_language.serving.drawing import GAP_PX, TILE_PX

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


async def stream(channel: grpc.aio.Channel, row: int, **parameters: str) -> list[dict[str, Any]]:
    """The outputs of each response to a question about its picture."""
    request = service_pb2.ModelInferRequest(model_name=ROUTE)
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 1, SIZE, SIZE, 3])
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    question = QUESTIONS[row].encode()
    request.raw_input_contents.append(len(question).to_bytes(4, "little") + question)
    request.raw_input_contents.append(PICTURES[row].tobytes())
    call = channel.stream_stream(STREAM)(iter([request.SerializeToString()]), timeout=60.0)
    found = []
    async for raw in call:
        answer = service_pb2.ModelStreamInferResponse.FromString(raw)
        assert not answer.error_message, answer.error_message
        response = answer.infer_response
        raws = zip(response.outputs, response.raw_output_contents, strict=True)
        outputs = {output.name: _read(output.datatype, content) for output, content in raws}
        outputs["final"] = response.parameters["triton_final_response"].bool_param
        found.append(outputs)
    return found


def _read(datatype: str, content: bytes) -> Any:
    return content[4:].decode() if datatype == "BYTES" else np.frombuffer(content, np.int64)


def test_a_grpc_stream_has_the_text_so_far_at_each_token(tmp_path: Path) -> None:
    averages = [float(VISUAL_TOKENS), 5.0] * (COUNT // 2)

    async def use(server: ChatServer) -> None:
        async with grpc.aio.insecure_channel(server.assembly.grpc_address) as channel:
            streams = await asyncio.gather(
                *[stream(channel, row, visual_tokens=str(averages[row])) for row in range(COUNT)]
            )
        for row, steps in enumerate(streams):
            text = expect(row, averages[row])
            assert steps[-1]["text"] == text
            assert steps[-1]["finish"] in {"stop", "length"}
            assert [step["final"] for step in steps] == [False] * (len(steps) - 1) + [True]
            texts = [step["text"] for step in steps]
            assert all(b.startswith(a) for a, b in pairwise(texts))
            assert len(steps[-1]["tokens"]) == len(text.split())
            kept = steps[-1]["visual_tokens"]
            assert (kept[0], len(kept)) == (VISUAL_TOKENS, LAYERS)
            assert (kept[-1] < VISUAL_TOKENS) == (averages[row] < VISUAL_TOKENS)

    serve_chats(tmp_path, use)


def test_a_grpc_client_that_leaves_frees_its_state(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        async with grpc.aio.insecure_channel(server.assembly.grpc_address) as channel:
            begun = [
                asyncio.create_task(stream(channel, row, max_tokens="24")) for row in range(COUNT)
            ]
            await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
            for one in begun:
                one.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    serve_chats(tmp_path, use)  # checks that no byte is left


def test_a_picture_and_its_question_are_predicted_and_explained(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        query: dict[str, Any] = {"prompt": QUESTIONS[1], "visual_tokens": 6}
        path, body = f"/v1/routes/{ROUTE}", make_png(PICTURES[1])
        answer = await server.client.post(f"{path}/predict", params=query, content=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["answers"][0]["text"] == [expect(1, 6.0)]
        explained = await server.client.post(f"{path}/explain", params=query, content=body)
        stages = [one["stage"] for one in explained.json()["stages"]]
        assert stages == ["prefill"] + ["decode"] * (len(stages) - 1)
        drawn = await server.client.post(
            f"{path}/explain", params=query, content=body, headers={"accept": "image/png"}
        )
        assert drawn.headers["content-type"] == "image/png"
        picture = np.asarray(Image.open(BytesIO(drawn.content)))
        side = SIZE * -(-TILE_PX // SIZE)
        assert picture.shape == (side, LAYERS * side + (LAYERS - 1) * GAP_PX, 3)
        tiles = [picture[:, at : at + side] for at in range(0, picture.shape[1], side + GAP_PX)]
        sums = [int(tile.sum()) for tile in tiles]
        assert sums == sorted(sums, reverse=True)
        assert sums[-1] < sums[0]

    serve_chats(tmp_path, use)


def read_metric(server: ChatServer, name: str, *labels: str) -> float:
    """The sum of all series with these labels."""
    lines = [
        line
        for line in server.assembly.metrics.render()[0].decode().splitlines()
        if line.startswith((f"sparing_{name} ", f"sparing_{name}{{"))
        and all(label in line for label in labels)
    ]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_tokens_of_requests_that_join_another_are_counted_once(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        found = await asyncio.gather(*[server.ask(row=0) for _ in range(4)])
        assert len({text_of(one) for one in found}) == 1
        generated = found[0]["usage"]["completion_tokens"]
        assert read_metric(server, "generated_tokens_total") == generated
        assert read_metric(server, "first_token_seconds_count", 'exit="visual_1.0"') == 1

    serve_chats(tmp_path, use, cache={"enabled": True})


def test_tokens_and_times_are_counted(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        found = [await server.ask(row=row, visual_tokens=9) for row in range(COUNT)]
        usages = [one["usage"] for one in found]
        metrics = server.assembly.metrics.render()[0].decode()
        read = partial(read_metric, server)
        prompt, generated = (
            sum(usage[name] for usage in usages) for name in ("prompt_tokens", "completion_tokens")
        )
        assert read("prompt_tokens_total") == prompt
        assert read("generated_tokens_total") == generated
        assert read("visual_tokens_total") == COUNT * VISUAL_TOKENS
        kept = sum(float(np.mean(usage["visual_tokens_by_layer"])) for usage in usages)
        assert read("visual_tokens_kept_total") == pytest.approx(kept)
        assert read("first_token_seconds_count") == COUNT
        further = sum(max(0, usage["completion_tokens"] - 1) for usage in usages)
        assert read("token_seconds_count") == further
        seconds = [
            read("generation_device_seconds_total", f'stage="{stage}"', 'exit="visual_0.6"')
            for stage in ("prefill", "decode")
        ]
        assert min(seconds) > 0
        joules = [
            read("generation_energy_joules_total", f'stage="{stage}"', 'source="model"')
            for stage in ("prefill", "decode")
        ]
        told = sum(usage["energy_j"] for usage in usages)
        assert sum(joules) == pytest.approx(told, rel=0.05)
        assert min(joules) > 0
        assert all(f"sparing_{name}_total" in metrics for name in TOKENS)
        assert text_of(found[0]) == expect(0, 9.0)

    serve_chats(tmp_path, use, energy={"source": "model"})


def test_answers_come_from_the_cache_whole(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        first = await server.ask(row=1)
        again = await server.ask(row=1)
        assert text_of(again) == text_of(first) == expect(1)
        assert again["usage"]["stopped_by"] == "cache"
        other = await server.ask(row=1, visual_tokens=5)
        assert other["usage"]["stopped_by"] != "cache"

    serve_chats(tmp_path, use, cache={"enabled": True})


def test_without_torch_the_route_is_listed_as_needing_the_extra_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_route(tmp_path)
    missing = lambda name: None  # noqa: E731
    monkeypatch.setattr("serving.devices.find_spec", missing)
    monkeypatch.setattr("tokens.vision_language.serving.route.find_spec", missing)

    async def main() -> None:
        with caplog.at_level(logging.INFO):
            async with open_chats(tmp_path, has_torch=False) as server:
                assert server.assembly.list_routes() == "tiny v1"
                assert (await server.client.get("/v1/models")).json()["data"] == []

    asyncio.run(main())
    assert "route refused" in caplog.text
    assert "needs the extra vlm" in caplog.text

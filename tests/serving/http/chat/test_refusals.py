"""What a chat cannot be is refused in OpenAI's shape, with a sentence."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.tiny_routes import write_route
from serving.http.openapi.document import make_document
from tests.fakes.tiny_vlm import CONTEXT
from tests.serving.chatting import (
    CHAT,
    PICTURES,
    ChatServer,
    Message,
    make_body,
    make_part,
    open_chats,
    serve_chats,
)

NO_PICTURE = base64.b64encode(b"this is no picture").decode()
CUT_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\x00").decode()


def user(*parts: Message) -> list[Message]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "a"}]}]


def url(value: object) -> Message:
    return {"type": "image_url", "image_url": {"url": value}}


def nest(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a picture that is none": (
        {"messages": user(url(f"data:image/png;base64,{NO_PICTURE}"))},
        "pictures[0]: given 18 bytes that are no picture",
    ),
    "a damaged picture": (
        {"messages": user(url(f"data:image/png;base64,{CUT_PNG}"))},
        "pictures[0]: damaged",
    ),
    "not base64": ({"messages": user(url("data:image/png;base64,?"))}, "pictures[0]"),
    "an http address": (
        {"messages": user(url("https://example.com/a.png"))},
        "messages[0].content[0].image_url.url: given an http address",
    ),
    "a file": ({"messages": user(url("file:///etc/passwd"))}, "allowed a data URL"),
    "no address": ({"messages": user(url(None))}, "image_url.url: given None"),
    "too many pictures": (
        {"messages": user(*[make_part(PICTURES[0])] * 3)},
        "messages: given 3 pictures, allowed 2",
    ),
    "a prompt over the context": (
        {"messages": [{"role": "user", "content": "a " * 100}]},
        f"allowed {CONTEXT} together",
    ),
    "an unknown role": (
        {"messages": [{"role": "robot", "content": "a"}]},
        "messages[0].role: given 'robot'",
    ),
    "an unknown part": ({"messages": user({"type": "video"})}, "content[0]: given 'video'"),
    "unknown words": (
        {"messages": [{"role": "user", "content": "zebra"}]},
        "words outside the vocabulary of this model: zebra",
    ),
    "a schedule beyond the model": (
        {"drop_layers": [9], "drop_shares": [0.5]},
        "layer 9 is not possible, layers must increase, from 1 to 3 for this model",
    ),
    "too few visual tokens": ({"visual_tokens": 1}, "parameters.visual_tokens: given 1"),
    "too many tokens": ({"max_tokens": 1000}, "parameters.max_tokens: given 1000"),
    "a temperature": ({"temperature": -1}, "parameters.temperature"),
    "an empty stop string": ({"stop": ""}, "parameters.stop"),
    "two answers": ({"n": 2}, "n: given 2, allowed 1"),
    "tools": ({"tools": [{"type": "function"}]}, "tools: given"),
    "a format": ({"response_format": {"type": "json_object"}}, "response_format: given"),
    "a stream that is none": ({"stream": "yes"}, "stream: given 'yes'"),
    "no messages": ({"messages": []}, "messages: given []"),
    "deep nesting": (
        {"messages": user({"type": "text", "text": nest(300)})},
        "messages: nested too deeply",
    ),
    "no list": ({"messages": "a"}, "messages: given 'a'"),
    "no model": ({"model": None}, "model: given None"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], tuple[int, Any]]:
    """The status and the body of each, asked whole and as a stream, of one server."""
    found: dict[tuple[str, bool], tuple[int, Any]] = {}

    async def main() -> None:
        async with open_chats(tmp_path_factory.mktemp("models")) as server:
            for name, (fields, _) in REFUSED.items():
                for stream in (False, True):
                    body = {**make_body(), **({"stream": True} if stream else {}), **fields}
                    answer = await server.client.post(CHAT, json=body)
                    found[name, stream] = (answer.status_code, answer.json())
            metrics = (await server.client.get("/metrics")).text
            assert "sparing_requests_total" in metrics
            assert 'result="InternalError"' not in metrics

    asyncio.run(main())
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_sentence(
    name: str, stream: bool, answers: dict[tuple[str, bool], tuple[int, Any]]
) -> None:
    status, body = answers[name, stream]
    sentence = REFUSED[name][1]
    assert status == 400, body
    error = body["error"]
    assert sentence in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] is None or error["message"].startswith(f"{error['param']}: ")


def test_other_errors_have_the_same_shape(tmp_path: Path) -> None:
    write_route(tmp_path)

    async def use(server: ChatServer) -> None:
        schema = {
            "$ref": "#/components/schemas/ChatError",
            "components": make_document("1")["components"],
        }
        for body, status, code in (
            ({**make_body(), "model": "nothing"}, 404, "model_not_found"),
            ({**make_body(), "model": "tiny"}, 404, "model_not_found"),  # it answers no chats
            ({**make_body(), "timeout_ms": 0}, 504, "deadline_exceeded"),
        ):
            answer = await server.client.post(CHAT, json=body)
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == code
            jsonschema.validate(answer.json(), schema)
        answer = await server.client.post(CHAT, content=b"{")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "body")

    serve_chats(tmp_path, use)


def test_a_wrong_token_has_the_same_shape(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        answer = await server.client.post(CHAT, json=make_body())
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        headers = {"authorization": "Bearer secret"}
        answer = await server.client.post(CHAT, json=make_body(), headers=headers)
        assert answer.status_code == 200

    serve_chats(tmp_path, use, server={"http_port": 0, "grpc_port": 0, "bearer_token": "secret"})


def test_answers_have_the_documents_shape(tmp_path: Path) -> None:
    async def use(server: ChatServer) -> None:
        document = make_document("1")
        for path, method, answer in (
            (CHAT, "post", await server.client.post(CHAT, json=make_body())),
            ("/v1/models", "get", await server.client.get("/v1/models")),
        ):
            content = document["paths"][path][method]["responses"]["200"]["content"]
            schema = content["application/json"]["schema"]
            jsonschema.validate(answer.json(), {**schema, "components": document["components"]})
        request = document["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]
        jsonschema.validate(
            make_body(stream=True, visual_tokens=9),
            {**request["schema"], "components": document["components"]},
        )

    serve_chats(tmp_path, use)

"""The procedures of the Open Inference Protocol, from message to message, without a transport.

Asks the engine and converts; decides nothing about routing, caching or thresholds. How calls
arrive, what an error's status is and how the server drains are left to `serving.rpc`.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from importlib.metadata import version
from typing import Protocol

from core.errors import SparingError, UnknownRoute
from core.manifest import TensorSpec
from core.messages import Reply, Request
from serving.catalog import Catalog, ServedRoute
from serving.outputs import select_outputs
from serving.rpc_codec import decode_inputs, decode_parameters, encode_reply
from serving.rpc_messages import Message, Messages
from serving.tensors import read_parameters

Procedure = Callable[[Message, float | None], Awaitable[Message]]  # request, seconds left -> reply


class Engine(Protocol):
    """What this door needs of the engine."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def draining(self) -> bool: ...
    def resolve(self, route: str, version: str | None) -> ServedRoute: ...
    async def answer(self, request: Request) -> Reply: ...
    def infer(self, request: Request) -> AsyncIterator[Reply]: ...


class RequestCounts(Protocol):
    """Where answered requests are counted; `result` is "ok" or the error's class name."""

    def request(self, route: str | None, result: str, /) -> None: ...


class RpcService:
    """One object for all calls; it holds no state of any of them."""

    def __init__(self, engine: Engine, metrics: RequestCounts, messages: Messages) -> None:
        self._engine = engine
        self._metrics = metrics
        self._messages = messages
        self.unary: Mapping[str, Procedure] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.infer,
        }

    async def server_live(self, _request: Message, _remaining_s: float | None) -> Message:
        return self._messages.server_live(live=True)

    async def server_ready(self, _request: Message, _remaining_s: float | None) -> Message:
        return self._messages.server_ready(ready=not self._engine.draining)

    async def model_ready(self, request: Message, _remaining_s: float | None) -> Message:
        try:
            self._engine.resolve(request.name, request.version or None)
        except UnknownRoute:
            return self._messages.model_ready(ready=False)
        return self._messages.model_ready(ready=not self._engine.draining)

    async def server_metadata(self, _request: Message, _remaining_s: float | None) -> Message:
        return self._messages.server_metadata(name="sparing", version=version("sparing"))

    async def model_metadata(self, request: Message, _remaining_s: float | None) -> Message:
        served = self._engine.resolve(request.name, request.version or None)
        message = self._messages.model_metadata(
            name=request.name,
            versions=[
                one.version for one in self._engine.catalog.routes() if one.name == served.name
            ],
            platform=served.manifest.pipeline,
        )
        for specs, tensors in (
            (served.manifest.inputs, message.inputs),
            (served.manifest.outputs, message.outputs),
        ):
            for spec in specs:
                tensors.add(**_describe(spec))
        return message

    async def infer(self, message: Message, remaining_s: float | None) -> Message:
        """ModelInfer. Raises SparingError."""
        try:
            served, request = self._read(message, remaining_s, stream=False)
            reply = await self._engine.answer(request)
            response = self._write(message, served, reply)
        except Exception as error:
            self._count_failure(message, error)
            raise
        self._metrics.request(reply.route, "ok")
        return response

    async def infer_stream(
        self, message: Message, remaining_s: float | None
    ) -> AsyncGenerator[Message, None]:
        """One request of a ModelStreamInfer: a response for each reply. Raises SparingError."""
        try:
            served, request = self._read(message, remaining_s, stream=True)
            async with aclosing(self._replies(request)) as replies:
                async for reply in replies:
                    response = self._write(message, served, reply)
                    response.parameters["triton_final_response"].bool_param = reply.final
                    if reply.rows is not None:
                        response.parameters["rows"].string_param = ",".join(map(str, reply.rows))
                    yield response
        except Exception as error:
            self._count_failure(message, error)
            raise
        self._metrics.request(served.name, "ok")

    async def _replies(self, request: Request) -> AsyncGenerator[Reply, None]:
        """The engine's replies; leaving early tells the engine so at once."""
        replies = self._engine.infer(request)
        try:
            async for reply in replies:
                yield reply
        finally:
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

    def _read(
        self, message: Message, remaining_s: float | None, *, stream: bool
    ) -> tuple[ServedRoute, Request]:
        """What the call asks for, checked in full before it costs anything."""
        asked_version = message.model_version or None
        served = self._engine.resolve(message.model_name, asked_version)
        inputs = decode_inputs(message, served.manifest)
        parameters = read_parameters(decode_parameters(message))
        select_outputs(served.manifest, _asked(message))
        timeouts_s = [one for one in (parameters.timeout_s, remaining_s) if one is not None]
        return served, Request(
            message.model_name,
            inputs,
            version=asked_version,
            deadline=time.monotonic() + min(timeouts_s) if timeouts_s else None,
            energy_mj=parameters.energy_mj,
            controls=parameters.controls,
            no_cache=parameters.no_cache,
            stream=stream,
        )

    def _write(self, message: Message, served: ServedRoute, reply: Reply) -> Message:
        if (reply.route, reply.version) != (served.name, served.version):
            served = self._engine.resolve(reply.route, reply.version)  # `auto:<task>` chose another
        manifest = served.manifest
        return encode_reply(
            self._messages.infer_response,
            reply,
            manifest,
            select_outputs(manifest, _asked(message)),
            request_id=message.id,
            raw=len(message.raw_input_contents) > 0,
        )

    def _count_failure(self, message: Message, error: Exception) -> None:
        result = type(error).__name__ if isinstance(error, SparingError) else "InternalError"
        self._metrics.request(message.model_name, result)


def _asked(message: Message) -> list[str]:
    return [output.name for output in message.outputs]


def _describe(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}

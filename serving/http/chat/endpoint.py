"""The endpoints of a chat: they read, call the engine, and write each token as it comes.

An answer is always taken from the engine step by step, so that the time to its first token is
known. A stream begins with its first token: what fails before has an error's status. A client that
leaves ends its row within one step.
"""

import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import numpy as np
import orjson

from core.errors import InvalidInput, SparingError, UnknownRoute
from core.generation import Generates, find_generation
from core.messages import Reply, Request
from monitoring.access_log import note_request
from monitoring.tracing.sampling import Tracing
from monitoring.tracing.traces import Trace
from serving.callers import Caller
from serving.engine.admission import Admitted
from serving.engine.catalog import ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget, ClientGone
from serving.http.chat.errors import refuse_openai
from serving.http.chat.messages import LIMITS, ChatRequest, read_chat
from serving.http.chat.replies import ChatWriter, write_stream_error
from serving.http.infer.json_large import LARGE_BYTES
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.interfaces import Engine, Metrics, count_failure
from serving.http.routing import HttpRequest
from serving.http.status import Response
from serving.oip.tensors import check_inputs, input_spec, object_array, read_parameters
from serving.pictures.picture_reader import PictureReader

EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]


class ChatEndpoint:
    """Answers chats, and lists the routes that do."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        tracing: Tracing,
        bodies: BodyBudget,
        pictures: PictureReader,
        offload: OffloadThreads,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self._bodies = bodies
        self._pictures = pictures
        self._offload = offload

    async def models(self, _http_request: HttpRequest) -> Response:
        """List the routes that answer chats."""
        created = int(time.time())
        data = [
            {"id": one.name, "object": "model", "created": created, "owned_by": "sparing"}
            for one in self._engine.catalog.newest()
            if find_generation(one.pipeline) is not None
        ]
        return 200, [JSON_TYPE], orjson.dumps({"object": "list", "data": data})

    async def answer(self, http_request: HttpRequest) -> Response:
        """Read the body and answer it. Counts each failure."""
        caller, client = http_request.caller, http_request.client
        trace = self._tracing.start_from_headers(http_request.headers)
        asked = _Asked(caller.rollout_key or caller.name)
        try:
            body = await self._bodies.read(http_request.headers, client.receive, caller.name)
            try:
                chat, admitted, request = await client.attend(
                    self._admit(body, caller, trace, asked)
                )
                generation = find_generation(admitted.served.pipeline)
                assert generation is not None
                answering = _Answering(self, chat, request, admitted, generation, asked)
                if not chat.stream:
                    return 200, [JSON_TYPE], await client.attend(answering.answer())
                events = answering.stream()
                await client.attend(_begin(events))
                return 200, EVENTS, events
            finally:
                self._bodies.give_back(len(body), caller.name)
        except Exception as error:
            self.count_failure(asked, error, trace)
            raise

    async def _admit(
        self, body: bytes, caller: Caller, trace: Trace, asked: "_Asked"
    ) -> tuple[ChatRequest, Admitted, Request]:
        """Read the body and decode its pictures."""
        arrived = time.monotonic()
        if len(body) > LARGE_BYTES:
            chat = await self._offload.run(caller.name, read_chat, body)
        else:
            chat = read_chat(body)
        asked.route = chat.model
        served = self._engine.resolve(chat.model, None, asked.key)
        note_request(chat.model, caller.name)
        generation = find_generation(served.pipeline)
        if generation is None:
            raise UnknownRoute(
                f"model {chat.model[:128]!r} answers no chats; GET /v1/models lists those that do"
            )
        request = await self._make_request(chat, served, generation, caller, arrived)
        return chat, follow(trace, self._engine.admit(request)), request

    async def _make_request(
        self,
        chat: ChatRequest,
        served: ServedRoute,
        generation: Generates,
        caller: Caller,
        arrived: float,
    ) -> Request:
        manifest = served.manifest
        declared = manifest.parameters
        names = {*LIMITS, *declared}
        given = {name: value for name, value in chat.parameters.items() if name in names}
        parameters = read_parameters(given, declared)
        controls = parameters.controls
        if "seed" in declared and "seed" not in given and _draws(given, served):
            controls = {**controls, "seed": secrets.randbits(31)}
        timeout_s = parameters.timeout_s
        deadline = None if timeout_s is None else arrived + timeout_s
        picture = manifest.picture
        assert picture is not None, "a route that generates has pictures"
        count = len(chat.pictures)
        if count > generation.max_pictures:
            raise InvalidInput(
                f"messages: given {count} pictures, allowed {generation.max_pictures}"
            )
        if count:
            body = orjson.dumps(chat.pictures)
            rows = await self._pictures.read(body, picture, caller.name, deadline, count)
        else:
            rows = np.empty((0, *input_spec(manifest, picture.input).shape[2:]), np.uint8)
        inputs = {"prompt": object_array([chat.prompt]), picture.input: rows[None]}
        check_inputs(manifest, inputs)
        return Request(
            chat.model,
            inputs,
            deadline=deadline,
            energy_mj=parameters.energy_mj,
            controls=controls,
            no_cache=parameters.no_cache,
            stream=True,
            tenant=caller.tenant,
            caller=caller.name,
            rollout_key=caller.rollout_key,
        )

    async def follow(self, request: Request, admitted: Admitted) -> AsyncGenerator[Reply, None]:
        """Yield the engine's replies; closing this generator releases the call at once."""
        replies = self._engine.infer(request, admitted)
        try:
            async for reply in replies:
                yield reply
        finally:
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

    def count_answered(self, asked: "_Asked", admitted: Admitted, last: Reply) -> None:
        self._metrics.count_request(last.route, "ok")
        self._engine.catalog.count_result(asked.route, None, asked.key, "ok")
        end_answered(admitted, (last,))

    def count_failure(self, asked: "_Asked", error: Exception, trace: Trace) -> None:
        result = count_failure(self._metrics, asked.route, error, trace)
        self._engine.catalog.count_result(asked.route, None, asked.key, result)


class _Asked:
    """What a request asked for, as far as it is known."""

    def __init__(self, key: str) -> None:
        self.route = ""
        self.key = key  # by which a rollout chooses


class _Answering:
    """The answer of one chat."""

    def __init__(
        self,
        endpoint: ChatEndpoint,
        chat: ChatRequest,
        request: Request,
        admitted: Admitted,
        generation: Generates,
        asked: _Asked,
    ) -> None:
        self._endpoint = endpoint
        self._chat = chat
        self._replies = endpoint.follow(request, admitted)
        self._admitted = admitted
        self._asked = asked
        self._writer = ChatWriter(chat.model, generation)

    async def answer(self) -> bytes:
        """Return the whole completion."""
        last = None
        async with aclosing(self._replies) as replies:
            async for reply in replies:
                self._writer.take(reply)
                last = reply
        written = self._writer.write()
        self._end(last)
        return written

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield an empty piece once the first token is there, then all events.

        An error after that is an event, too; one before it is raised.
        """
        begun = False
        try:
            async with aclosing(self._write_events()) as events:
                async for event in events:
                    begun = True
                    yield event
        except SparingError as error:
            if not begun:
                raise
            self._fail(error)
            yield write_stream_error(refuse_openai(error)[2])
        except BaseException as error:
            if begun:
                self._fail(error if isinstance(error, Exception) else ClientGone())
            raise

    async def _write_events(self) -> AsyncGenerator[bytes, None]:
        writer, last = self._writer, None
        async with aclosing(self._replies) as replies:
            async for reply in replies:
                writer.take(reply)
                if last is None:
                    yield b""
                    yield writer.write_begin()
                last = reply
                yield writer.write_progress()
        for event in writer.write_end(includes_usage=self._chat.includes_usage):
            yield event
        self._end(last)

    def _end(self, last: Reply | None) -> None:
        assert last is not None
        self._admitted.trace.begin_span()
        self._endpoint.count_answered(self._asked, self._admitted, last)

    def _fail(self, error: Exception) -> None:
        self._endpoint.count_failure(self._asked, error, self._admitted.trace)


async def _begin(events: AsyncGenerator[bytes, None]) -> None:
    """Wait for a stream's first piece, which is empty. Its end is then released with it."""
    await anext(events)


def _draws(given: Mapping[str, object], served: ServedRoute) -> bool:
    """Return whether the answer's tokens are drawn at random."""
    temperature = given.get("temperature", served.defaults.get("temperature", 0))
    return temperature not in (0, "0")

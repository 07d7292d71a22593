"""The predict endpoint: pictures in, a JSON answer out."""

from collections.abc import Mapping

import orjson

from core.messages import Reply
from monitoring.tracing.sampling import Tracing
from monitoring.tracing.traces import Trace
from serving.engine.admission import Admitted
from serving.engine.catalog import ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.interfaces import Engine, Metrics, count_failure
from serving.http.routing import HttpRequest, read_query
from serving.http.status import Response
from serving.oip.descriptions import describe_reply
from serving.oip.label_lists import read_label_view
from serving.pictures.decode_pool import open_decode_pool
from serving.pictures.picture_reader import PictureReader
from serving.pictures.picture_request import read_picture_request
from serving.pictures.pictures import PictureLimits
from serving.settings import ServerSettings


class PredictEndpoint:
    """Answers requests whose bodies hold pictures; `close` ends its decoding threads."""

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        metrics: Metrics,
        tracing: Tracing,
        bodies: BodyBudget,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self._bodies = bodies
        self._decoding = open_decode_pool(settings)
        limits = PictureLimits(settings.max_picture_pixels, settings.max_decode_bytes)
        self.pictures = PictureReader(limits, self._decoding)

    def close(self) -> None:
        """End the decoding threads."""
        self._decoding.close()

    async def answer(self, http_request: HttpRequest) -> Response:
        """Read the body, decode its pictures and return the response. Counts each failure."""
        route = http_request.target.route
        trace = self._tracing.start_from_headers(http_request.headers)
        key = http_request.caller.rollout_key or http_request.caller.name
        query: Mapping[str, str] = {}
        try:
            query = read_query(http_request.query)
            body = await self._bodies.read(
                http_request.headers, http_request.client.receive, http_request.caller.name
            )
            try:
                served = self._engine.resolve(route, query.get("version"), key)
                view = read_label_view(query, served.manifest)
                admitted, reply = await http_request.client.attend(
                    self._answer_pictures(served, body, query, http_request, trace)
                )
            finally:
                self._bodies.give_back(len(body), http_request.caller.name)
            trace.begin_span()
            facts = describe_reply(reply, admitted.served.manifest, view)
            answer = orjson.dumps(facts, option=orjson.OPT_SERIALIZE_NUMPY)
        except Exception as error:
            result = count_failure(self._metrics, route, error, trace)
            self._engine.catalog.count_result(route, query.get("version"), key, result)
            raise
        self._metrics.count_request(reply.route, "ok")
        self._engine.catalog.count_result(route, query.get("version"), key, "ok")
        end_answered(admitted, (reply,))
        return 200, [JSON_TYPE], answer

    async def _answer_pictures(
        self,
        served: ServedRoute,
        body: bytes,
        query: Mapping[str, str],
        http_request: HttpRequest,
        trace: Trace,
    ) -> tuple[Admitted, Reply]:
        """Decode and answer; all of it ends if the client disconnects."""
        route = http_request.target.route
        request = await read_picture_request(
            body, served.manifest, route, query, self.pictures, http_request.caller
        )
        admitted = follow(trace, self._engine.admit(request))
        return admitted, await self._engine.answer(request, admitted)

"""What holds for HTTP and gRPC together: one model behind both, one set of metric series."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route
from tests.clients.load import PICTURES, SLOW_WIDTH, TENSOR, label_in, series_of
from tests.clients.raw_http import RawClient

SERVICE = "/inference.GRPCInferenceService/"


def test_a_thousand_identical_requests_at_both_endpoints_run_the_model_once(tmp_path: Path) -> None:
    write_route(tmp_path, width=SLOW_WIDTH, thresholds=[1.0])
    picture = make_pictures(1, seed=77)
    body = _body(picture[0])

    async def main(server: LiveServer) -> None:
        clients = [RawClient(server.http_port) for _ in range(500)]
        async with triton.InferenceServerClient(server.grpc_address) as rpc:
            over_http, over_grpc = await asyncio.gather(
                asyncio.gather(*(one.post("/v2/models/tiny/infer", body) for one in clients)),
                asyncio.gather(*(rpc.infer("tiny", [_tensor(picture)]) for _ in range(500))),
            )
        for client in clients:
            client.close()
        assert {reply.status for reply in over_http} == {200}
        labels = {label_in(reply) for reply in over_http}
        labels |= {int(result.as_numpy("label")[0]) for result in over_grpc}
        assert len(labels) == 1

    with LiveServer(tmp_path) as server:
        asyncio.run(main(server))
        assert server.metric("sparing_batch_rows_sum", stage="stage0") == 1
        assert server.metric("sparing_batch_rows_sum", stage="stage1") == 1


def test_ten_thousand_random_route_names_over_grpc_add_no_metric_series(tmp_path: Path) -> None:
    write_route(tmp_path)
    names = [f"r{number}" for number in np.random.default_rng(2).integers(0, 2**62, 10_000)]
    settings = '[energy]\nsource = "none"\n'  # whose series come later
    with (
        LiveServer(tmp_path, settings) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        infer = channel.unary_unary(SERVICE + "ModelInfer")

        def ask(*some: str) -> list[grpc.StatusCode]:
            return [call.code() for call in [infer.future(_message(name)) for name in some]]

        assert ask("tiny", "nothing") == [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND]
        before = series_of(server)
        for start in range(0, len(names), 100):
            part = names[start : start + 100]
            assert ask(*part) == [grpc.StatusCode.NOT_FOUND] * 100
        assert series_of(server) == before


def _body(picture: npt.NDArray[np.uint8]) -> bytes:
    return json.dumps({"inputs": [{**TENSOR, "data": picture.ravel().tolist()}]}).encode()


def _message(route: str) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=route)
    request.inputs.add(name="image", datatype="UINT8", shape=PICTURES[:1].shape)
    request.raw_input_contents.append(PICTURES[:1].tobytes())
    raw: bytes = request.SerializeToString()
    return raw


def _tensor(pictures: npt.NDArray[np.uint8]) -> Any:  # tritonclient is untyped
    tensor = triton.InferInput("image", list(pictures.shape), "UINT8")
    tensor.set_data_from_numpy(pictures)
    return tensor

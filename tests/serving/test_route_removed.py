"""A route that is taken away while it computes still gives its answer."""

import asyncio
import threading

import numpy as np
from tritonclient.grpc import service_pb2

from harness.waiting import until
from monitoring.metrics.switched_off import NoMetrics
from serving.engine.engine import Engine
from serving.grpc.messages import Messages
from serving.grpc.procedures import GrpcService
from tests.fakes.toys import (
    ToyStage,
    final,
    serve_toy,
    with_engine,
)


def test_what_a_task_chose_answers_over_grpc_after_its_removal() -> None:
    gate = threading.Event()
    slow = serve_toy(ToyStage("only", lambda x: final(x, "only")), route="a-slow-one")
    slow.entry.times.calibrate(60.0, 60.0, 32)  # the first choice, but not with a deadline
    stage = ToyStage("only", lambda x: final(x, "only"), gate=gate)
    request = service_pb2.ModelInferRequest(model_name="auto:toys")
    request.inputs.add(name="x", datatype="FP64", shape=[1])
    request.raw_input_contents.append(np.array([7.0]).tobytes())

    async def use(engine: Engine) -> None:
        service = GrpcService(engine, NoMetrics(), Messages())
        asking = asyncio.create_task(service.infer(request.SerializeToString(), 15.0))
        await until(lambda: len(stage.batches) == 1)
        engine.catalog.replace([])
        gate.set()
        response = service_pb2.ModelInferResponse.FromString(await asking)
        assert response.model_name == "chosen"
        assert response.raw_output_contents[0] == np.array([7.0]).tobytes()

    with_engine(use, slow, serve_toy(stage, route="chosen"))

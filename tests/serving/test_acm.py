"""The kind `acm` in a live server: budgets of requests in one batch, the cache, and pictures."""

import asyncio
import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image
from tritonclient.utils import InferenceServerException

from core.devices.onnx import OnnxDevice
from core.messages import Request
from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures
from harness.waiting import until
from monitoring.metrics.switched_off import NoMetrics
from routes.loading import load_route
from routes.offline import OfflineRow, run_offline
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.tiny_acm import SPEC, write_acm
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine
from tests.serving.http.explain.scene import PNG, TINY, Scene, encode, load, play, write_json

DEVICE = OnnxDevice()
BETAS = (0.1, 0.35, 0.6, 0.75)
ROWS = 3


def run_alone(root: Path, beta: float, pictures: np.ndarray) -> list[OfflineRow]:
    pipeline = load_route(root / "tiny" / "1", DEVICE).pipeline
    return run_offline(pipeline, {"image": pictures}, DEVICE, {"compute": beta})


def test_requests_of_several_budgets_share_a_batch_each_row_as_if_alone(tmp_path: Path) -> None:
    loaded = load_route(write_acm(tmp_path), DEVICE)
    metrics = NoMetrics().add_route("tiny", ["stage0"])
    served = ServedRoute(loaded.manifest, loaded.pipeline, metrics)
    pictures = make_pictures(ROWS)
    gate = threading.Event()
    blocking = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        blocked = asyncio.create_task(engine.answer(ask(1.0)))
        await until(lambda: len(blocking.batches) == 1)  # the device is taken
        tasks = [
            asyncio.create_task(
                engine.answer(Request("tiny", {"image": pictures}, controls={"compute": beta}))
            )
            for beta in BETAS
        ]
        await until(lambda: served.entry.rows == len(BETAS) * ROWS)
        gate.set()
        await blocked
        macs: set[int] = set()
        for beta, task in zip(BETAS, tasks, strict=True):
            answers = (await task).answers
            macs |= {answer.macs for answer in answers}
            for answer, row in zip(answers, run_alone(tmp_path, beta, pictures), strict=True):
                assert row.outcome is not None
                assert answer.outcome.exit == row.outcome.exit
                for name, value in row.outcome.outputs.items():
                    assert answer.outcome.outputs[name].tobytes() == value.tobytes()
        full = loaded.manifest.stages[0].macs
        assert len(macs) > 1 and max(macs) < full  # all in one batch, whose tokens were sorted

    with_engine(use, served, serve_toy(blocking))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_acm(root)
    return root


def make_inputs(client: Any, pictures: np.ndarray) -> list[Any]:  # tritonclient is untyped
    tensor = client.InferInput("image", pictures.shape, "UINT8")
    tensor.set_data_from_numpy(pictures)
    return [tensor]


def make_outputs(client: Any, names: Sequence[str]) -> list[Any]:
    return [client.InferRequestedOutput(name) for name in names]


def test_stock_clients_choose_the_budget_at_both_endpoints(root: Path) -> None:
    pictures = make_pictures(ROWS)
    names = ("probabilities", "exit", "learners")
    with LiveServer(root) as server:
        clients = [
            (triton_http, triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}")),
            (triton_grpc, triton_grpc.InferenceServerClient(server.grpc_address)),
        ]
        for library, client in clients:
            inputs, outputs = make_inputs(library, pictures), make_outputs(library, names)
            for beta in BETAS:
                given: Any = str(beta) if library is triton_grpc else beta
                found = client.infer("tiny", inputs, outputs=outputs, parameters={"compute": given})
                alone = [row.outcome for row in run_alone(root, beta, pictures)]
                for row, outcome in enumerate(alone):
                    assert outcome is not None
                    assert found.as_numpy("exit")[row] == outcome.exit.encode()
                    for name in ("probabilities", "learners"):
                        np.testing.assert_array_equal(
                            found.as_numpy(name)[row], outcome.outputs[name]
                        )
            plain = client.infer("tiny", inputs)
            assert plain.as_numpy("label").shape == (ROWS,)
            assert plain.as_numpy("learners") is None
            for bad in ("1.5", "-0.1", "much"):
                with pytest.raises(InferenceServerException, match="compute") as caught:
                    client.infer("tiny", inputs, parameters={"compute": bad})
                assert "a number from 0 to 1" in caught.value.message()
            client.close()
        reply = httpx.post(
            f"http://127.0.0.1:{server.http_port}/v2/models/tiny/infer",
            content=write_json(pictures[0], compute=1.5),
        )
        assert reply.status_code == 400
        assert "compute" in reply.json()["error"] and "from 0 to 1" in reply.json()["error"]
        for beta in BETAS:
            exit = f"beta_{np.ceil(beta * 10) / 10:.1f}"
            assert server.metric("sparing_latency_seconds_count", exit=exit) > 0
            assert server.metric("sparing_macs_total", exit=exit) > 0


def test_an_answer_is_kept_for_its_budget_alone(tmp_path: Path) -> None:
    route, (picture,) = load(write_acm, tmp_path), make_pictures(1)

    async def script(scene: Scene) -> None:
        async def predict(beta: float) -> dict[str, Any]:
            path = f"/v1/routes/tiny/predict?compute={beta}"
            reply = await scene.client.post(path, content=encode(picture))
            assert reply.status_code == 200, reply.text
            (answer,) = reply.json()["answers"]
            found: dict[str, Any] = answer
            return found

        first, other, again = [await predict(beta) for beta in (0.2, 0.7, 0.2)]
        assert [one["cached"] for one in (first, other, again)] == [False, False, True]
        assert again["probabilities"] == first["probabilities"] != other["probabilities"]
        assert len(first["learners"]) == SPEC.layers
        assert [one["exit"] for one in (first, other)] == ["beta_0.2", "beta_0.7"]

    play(script, route)


def test_a_heat_map_is_drawn_of_the_budget_that_was_asked_for(tmp_path: Path) -> None:
    route, (picture,) = load(write_acm, tmp_path), make_pictures(1)

    async def script(scene: Scene) -> None:
        drawn: list[np.ndarray] = []
        for beta in (0.0, 1.0):
            path = f"{TINY}?compute={beta}"
            facts = await scene.explain(path, content=encode(picture))
            assert facts["parameters"]["compute"] == beta
            assert len(facts["answer"]["learners"]) == SPEC.layers
            reply = await scene.client.post(path, content=encode(picture), headers=PNG)
            assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
            drawn.append(np.asarray(Image.open(BytesIO(reply.content))))
        assert drawn[0].shape == (112, (2 + SPEC.layers) * 112, 3)
        assert not np.array_equal(drawn[0], drawn[1])

    play(script, route)

"""Pictures of explanations: what is drawn, for whom, and that answers do not change."""

import asyncio
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.devices.onnx import OnnxDevice
from harness.tiny_routes import make_pictures, make_poison
from routes.offline import run_offline
from tests.fakes.tiny_kinds import make_converter, write_cbnet, write_gated
from tests.serving.http.explain.scene import (
    PNG,
    TINY,
    Scene,
    encode,
    load,
    play,
)


def test_a_converted_picture_is_drawn_beside_the_given_one(tmp_path: Path) -> None:
    route = load(lambda root: write_cbnet(root, draws=True), tmp_path)
    picture = make_pictures(1, seed=4)[0]
    session = route.pipeline.stages["stage0"].final.session  # type: ignore[attr-defined]
    (converted,) = session.run(["converted"], {"image": picture[None]})

    async def script(scene: Scene) -> None:
        facts = await scene.explain(TINY, content=encode(picture))
        for _ in range(2):  # a picture shows a run of its own, whatever the cache holds
            reply = await scene.client.post(TINY, content=encode(picture), headers=PNG)
            assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
            drawn = np.asarray(Image.open(BytesIO(reply.content)))
            assert drawn.shape == (224, 448)
            assert np.array_equal(drawn[::8, :224:8], picture)
            wanted = np.round(converted.reshape(28, 28) * 255)
            assert np.array_equal(drawn[::8, 224::8], wanted)
        both = {"Accept": "image/png, application/json"}
        assert (await scene.explain(TINY, content=encode(picture), headers=both))["answer"][
            "probabilities"
        ] == facts["answer"]["probabilities"]
        poison = await scene.client.post(TINY, content=encode(make_poison()), headers=PNG)
        assert poison.status_code == 500
        assert scene.count("tiny")["ok"] == 4

    play(script, route)


def test_a_gated_route_draws_only_what_it_converted(tmp_path: Path) -> None:
    converter = make_converter(draws=True)
    route = load(lambda root: write_gated(root, converter=converter), tmp_path)
    session = route.pipeline.stages["stage1"].net.session  # type: ignore[attr-defined]
    seen: set[bool] = set()

    async def script(scene: Scene) -> None:
        for picture in make_pictures(12, seed=5):
            facts = await scene.explain(TINY, content=encode(picture))
            was_converted = any(one["stage"] == "stage1" for one in facts["stages"])
            seen.add(was_converted)
            reply = await scene.client.post(TINY, content=encode(picture), headers=PNG)
            if not was_converted:
                assert reply.status_code == 406
                assert "route tiny cannot draw this row's path" in reply.json()["error"]
                either = {"Accept": "image/png, */*;q=0.1"}
                other = await scene.explain(TINY, content=encode(picture), headers=either)
                assert other["answer"]["label"] == facts["answer"]["label"]
                continue
            assert reply.status_code == 200
            drawn = np.asarray(Image.open(BytesIO(reply.content)))
            (converted,) = session.run(["converted"], {"image": picture[None]})
            assert np.array_equal(drawn[::8, 224::8], np.round(converted.reshape(28, 28) * 255))
        assert seen == {True, False}

    play(script, route)


def test_a_picture_does_not_change_the_answers_of_others_in_its_batch(tmp_path: Path) -> None:
    route = load(lambda root: write_cbnet(root, draws=True), tmp_path)
    pictures = make_pictures(6, seed=4)
    offline = run_offline(route.pipeline, {"image": pictures}, OnnxDevice())
    path = "/v1/routes/tiny/predict"

    async def script(scene: Scene) -> None:
        asking = [scene.client.post(path, content=encode(one)) for one in pictures]
        drawing = [scene.client.post(TINY, content=encode(one), headers=PNG) for one in pictures]
        replies = await asyncio.gather(*asking, *drawing)
        assert {reply.status_code for reply in replies} == {200}
        for reply, row in zip(replies, offline, strict=False):
            (answer,) = reply.json()["answers"]
            assert row.outcome is not None
            given = np.array(answer["probabilities"], np.float32)
            assert given.tobytes() == row.outcome.outputs["probabilities"].tobytes()

    play(script, route)


def test_of_a_long_accept_only_the_beginning_is_read(tmp_path: Path) -> None:
    route = load(lambda root: write_cbnet(root, draws=True), tmp_path)

    async def script(scene: Scene) -> None:
        headers = {"Accept": "," * 5000 + "image/png"}
        await scene.explain(TINY, content=encode(make_pictures(1)[0]), headers=headers)

    play(script, route)


@pytest.mark.parametrize("accept", ["image/png, */*", "image/png;q=0, application/*", "*/*", ""])
def test_a_route_that_draws_nothing_answers_json_where_that_is_accepted(
    accept: str, tmp_path: Path
) -> None:
    async def script(scene: Scene) -> None:
        await scene.explain(TINY, content=encode(make_pictures(1)[0]), headers={"Accept": accept})

    play(script, load(write_cbnet, tmp_path))

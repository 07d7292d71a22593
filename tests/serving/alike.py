"""A route for tests of the perceptual cache: what a picture's corner says is its label.

So a test makes a picture that looks like another one, and decides whether the answers agree.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.messages import Answer, Batch, Next, Outcome, Request, Step
from monitoring.metrics.switched_off import NoMetrics
from serving.engine.caches.perceptual_cache import PerceptualCounts, PerceptualRoute
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from serving.settings import PerceptualRouteSettings
from tests.fakes.toys import ToyPipeline
from tests.serving.small_engine import make_manifest

Bytes = npt.NDArray[np.uint8]
NEVER: dict[str, Any] = {"audit_burn_in": 0, "audit_rate": 1e-12}
ALWAYS: dict[str, Any] = {"audit_burn_in": 0, "audit_rate": 1.0}


def make_picture(seed: int, size: int = 28, label: int = 100, unsure: bool = False) -> Bytes:
    """Noise, which is textured; pictures of two seeds do not look alike."""
    picture = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    picture[0, :4] = (label, 0 if unsure else 255, 100, 0)
    return picture


def alter(picture: Bytes, by: int = 3, label: int = 0) -> Bytes:
    """The same to the eye; answered differently where the label moves."""
    other = picture.copy()
    other[0, 2] += by
    other[0, 0] += label
    return other


async def answer(engine: Engine, *pictures: Bytes, **fields: Any) -> Sequence[Answer]:
    return (await engine.answer(show(*pictures, **fields))).answers


def label(one: Answer) -> int:
    return int(one.outcome.outputs["label"])


class CornerStage:
    """Answers the first corner pixel; unsure where the second is dark. Odd labels go to the stage
    named by `onward`. While there is a `gate`, a batch waits for it.
    """

    def __init__(self, name: str = "light", onward: str | None = None) -> None:
        self.name = name
        self.onward = onward
        self.labels: list[int] = []  # of the rows that ran
        self.gate: threading.Event | None = None

    def run(self, rows: Batch) -> Sequence[Step]:
        pictures = np.asarray(rows.inputs["image"])
        self.labels += pictures[:, 0, 0].tolist()
        if self.gate is not None:
            assert self.gate.wait(10.0)
        steps = []
        for picture in pictures:
            label = int(picture[0, 0])
            outputs = {"label": np.array(label), "probabilities": np.array([0, 1], np.float32)}
            answer = Outcome(outputs, 0.99 if picture[0, 1] > 127 else 0.5, self.name)
            onward = self.onward if label % 2 else None
            steps.append(Step(1, answer, Next(onward, {"image": picture}) if onward else None))
        return steps


def serve_alike(
    *stages: CornerStage, size: int = 28, sketch: Any = None, version: str = "1", **settings: Any
) -> tuple[ServedRoute, PerceptualRoute]:
    """A route `small` of these stages, opted in with these settings."""
    manifest = make_manifest(
        version=version,
        inputs=[{"name": "image", "datatype": "UINT8", "shape": [-1, size, size]}],
        picture={"input": "image", "height": size, "width": size, "channels": 1},
        stages=[{"name": one.name, "file": f"{one.name}.onnx", "macs": 1} for one in stages],
    )
    options = {} if sketch is None else {"sketch": sketch}
    similar = PerceptualRoute(
        manifest, PerceptualRouteSettings(**settings), PerceptualCounts(), **options
    )
    pipeline = ToyPipeline(stages[0].name, {stage.name: stage for stage in stages})
    counts = NoMetrics().add_route("small", [stage.name for stage in stages])
    return ServedRoute(manifest, pipeline, counts, similar=similar), similar


def show(*pictures: Bytes, **fields: Any) -> Request:  # Any: Request's own fields
    return Request("small", {"image": np.stack(pictures)}, **fields)

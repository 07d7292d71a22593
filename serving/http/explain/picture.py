"""Pictures of explanations: whether a request wants one, and the PNG that a pipeline draws."""

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image

from core.explaining import ExplainsByPicture, RowPath
from core.messages import Pipeline
from serving.engine.catalog import ServedRoute
from serving.http.body import HeaderMap
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.status import Refused, error_body

PNG_TYPE = (b"content-type", b"image/png")
_PNG = "image/png"
_MAX_ACCEPT_BYTES = 4096  # the rest of a longer header is not read: that could take 0.1 s
_JSON = frozenset({"application/json", "application/*", "*/*"})


def find_drawer(pipeline: Pipeline) -> ExplainsByPicture | None:
    """Return the pipeline if it can draw."""
    return pipeline if isinstance(pipeline, ExplainsByPicture) and pipeline.draws else None


def choose_picture(headers: HeaderMap, served: ServedRoute) -> bool:
    """Return whether the answer is a picture: if `Accept` names PNG and not JSON, and the route
    draws. Raises Refused (406) if it names PNG alone and the route draws none.
    """
    accepted = _read_accept(headers)
    if _PNG not in accepted or "application/json" in accepted:
        return False
    if find_drawer(served.pipeline) is not None:
        return True
    if not accepts_json(headers):
        raise refuse_picture(f"route {served.name} draws no picture")
    return False


def accepts_json(headers: HeaderMap) -> bool:
    """Return whether JSON may stand in for a picture that cannot be drawn."""
    return not _JSON.isdisjoint(_read_accept(headers))


def refuse_picture(why: str) -> Refused:
    """Return a 406 response, to be raised."""
    sentence = f"Accept: given {_PNG}, but {why}, allowed application/json"
    return Refused((406, [JSON_TYPE], error_body(sentence)))


def draw(drawer: ExplainsByPicture, inputs: Mapping[str, np.ndarray], path: RowPath) -> bytes:
    """Return the PNG of a row's path; empty if the path lacks what the pipeline needs."""
    row = {name: array[0] for name, array in inputs.items()}
    picture = drawer.explain_picture(row, path)
    if picture is None:
        return b""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _read_accept(headers: HeaderMap) -> set[str]:
    """Return the media types that the client accepts, without their order."""
    accepted = set()
    header = headers.get(b"accept", b"")[:_MAX_ACCEPT_BYTES]
    for entry in header.decode("latin-1").lower().split(","):
        name, *parameters = [part.strip() for part in entry.split(";")]
        if not any(part in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for part in parameters):
            accepted.add(name)
    return accepted

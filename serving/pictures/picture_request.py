"""Makes a request of pictures: the files of a body as the input that their route takes."""

import time
from collections.abc import Mapping

from core.errors import InvalidInput
from core.manifest import Manifest
from core.messages import Request
from serving.callers import Caller
from serving.oip.tensors import Tensor, check_inputs, input_spec, object_array, read_parameters
from serving.pictures.picture_body import MAX_PICTURES
from serving.pictures.picture_reader import PictureReader


async def read_picture_request(
    body: bytes,
    manifest: Manifest,
    route: str,
    query: Mapping[str, str],
    reader: PictureReader,
    caller: Caller,
    max_pictures: int = MAX_PICTURES,
) -> Request:
    """Return the request; its parameters are in the query, and so are other inputs that are one
    text. Raises a leaf of the error tree.

    If a row of the route has several pictures, all of them are one row. The deadline counts from
    here, so that decoding is part of it.
    """
    arrived = time.monotonic()
    parameters = read_parameters(query, manifest.parameters)
    if manifest.picture is None:
        raise InvalidInput(
            f"route {route} takes no pictures, allowed POST /v2/models/{route}/infer"
        )
    name = manifest.picture.input
    timeout_s = parameters.timeout_s
    deadline = None if timeout_s is None else arrived + timeout_s
    rows: Tensor = await reader.read(body, manifest.picture, caller.name, deadline, max_pictures)
    shape = input_spec(manifest, name).shape
    if shape[1] < 0:
        rows = rows[None]
    elif rows.ndim < len(shape):
        rows = rows[..., None]  # grey with a channel dimension
    texts = {
        spec.name: object_array([query.get(spec.name, "")] * len(rows))
        for spec in manifest.inputs
        if spec.datatype == "BYTES" and spec.shape == (-1,)
    }
    inputs = {**texts, name: rows}
    check_inputs(manifest, inputs)
    return Request(
        route,
        inputs,
        version=query.get("version"),
        deadline=deadline,
        energy_mj=parameters.energy_mj,
        controls=parameters.controls,
        no_cache=parameters.no_cache,
        tenant=caller.tenant,
        caller=caller.name,
        rollout_key=caller.rollout_key,
    )

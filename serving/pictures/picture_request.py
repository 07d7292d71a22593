"""Makes a request of pictures: the files of a body as the input that their route takes."""

import time
from collections.abc import Mapping

from core.errors import InvalidInput
from core.manifest import Manifest
from core.messages import Request
from serving.callers import Caller
from serving.oip.tensors import Tensor, check_inputs, input_spec, read_parameters
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
    """Return the request; its parameters are in the query. Raises a leaf of the error tree.

    The deadline counts from here, so that decoding is part of it.
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
    if rows.ndim < len(input_spec(manifest, name).shape):
        rows = rows[..., None]  # grey with a channel dimension
    check_inputs(manifest, {name: rows})
    return Request(
        route,
        {name: rows},
        version=query.get("version"),
        deadline=deadline,
        energy_mj=parameters.energy_mj,
        controls=parameters.controls,
        no_cache=parameters.no_cache,
        tenant=caller.tenant,
        caller=caller.name,
        rollout_key=caller.rollout_key,
    )

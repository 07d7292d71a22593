"""A request made of pictures: the files of a body as the input that their route takes."""

import time
from collections.abc import Mapping

from core.errors import InvalidInput
from core.manifest import Manifest
from core.messages import Request
from serving.picture_body import split_body
from serving.pictures import PictureLimits, read_pictures
from serving.tensors import Tensor, check_inputs, input_spec, read_parameters


async def read_picture_request(
    body: bytes, manifest: Manifest, route: str, query: Mapping[str, str], limits: PictureLimits
) -> Request:
    """Parameters stand in the query. Raises InvalidInput or BodyTooLarge."""
    arrived = time.monotonic()
    parameters = read_parameters(query)
    if manifest.picture is None:
        raise InvalidInput(
            f"route {route} takes no pictures, allowed POST /v2/models/{route}/infer"
        )
    name = manifest.picture.input
    rows: Tensor = await read_pictures(split_body(body), manifest.picture, limits)
    if rows.ndim < len(input_spec(manifest, name).shape):
        rows = rows[..., None]  # grey with a dimension of channels
    check_inputs(manifest, {name: rows})
    timeout_s = parameters.timeout_s
    return Request(
        route,
        {name: rows},
        version=query.get("version"),
        deadline=None if timeout_s is None else arrived + timeout_s,
        energy_mj=parameters.energy_mj,
        controls=parameters.controls,
        no_cache=parameters.no_cache,
    )

"""Bodies that take long to parse, which would block the event loop: they are parsed in a thread."""

import time

from core.manifest import Manifest
from serving.http.infer.json_large import LARGE_BYTES, takes_text
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.tensor_body import ParsedRequest, read_request
from serving.http.routing import HttpRequest


def takes_long(body: bytes, length: bytes | None, manifest: Manifest) -> bool:
    """Return whether a body takes long to parse: a large one, unless it consists of raw numbers
    behind `length` bytes of JSON.
    """
    if len(body) <= LARGE_BYTES:
        return False
    return length is None or len(length) > 4 or takes_text(manifest)


async def read_in_thread(
    threads: OffloadThreads, http_request: HttpRequest, body: bytes, manifest: Manifest
) -> ParsedRequest:
    """Like `read_request`, with the request's caller added; its deadline counts from now."""
    target, caller = http_request.target, http_request.caller
    length = http_request.headers.get(b"inference-header-content-length")
    arrived = time.monotonic()
    parsed = await threads.run(
        caller.name, read_request, body, length, manifest, target.route, target.version
    )
    timeout_s = parsed.timeout_s
    request = parsed.request._replace(
        deadline=None if timeout_s is None else arrived + timeout_s,
        tenant=caller.tenant,
        caller=caller.name,
        rollout_key=caller.rollout_key,
    )
    return parsed._replace(request=request)

"""An HTTP client for one JSON request to a running server. Failures are one sentence each."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from sparing.failure import Failure

REQUEST_TIMEOUT_S = 60.0  # for the reply; the server enforces the request's own deadline


def request_json(
    url: str, path: str, body: bytes | None = None, content_type: str = "", token: str = ""
) -> Any:
    """Send GET, or POST if there is a body, and return the decoded JSON. `token` is a bearer token.

    Raises Failure if the URL is wrong, the server cannot be reached, the status is not 200 or the
    reply is not JSON.
    """
    server = urlsplit(url)
    if server.scheme not in ("http", "https") or not server.hostname:
        raise Failure(f"--url: given {url!r}, allowed http://HOST:PORT", exit_code=2)
    kind = http.client.HTTPSConnection if server.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(server.hostname, server.port, timeout=REQUEST_TIMEOUT_S)
    except ValueError as error:
        raise Failure(f"--url: given {url!r}: {error}", exit_code=2) from error
    headers = {"Content-Type": content_type} if body is not None else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(
            "GET" if body is None else "POST", server.path.rstrip("/") + path, body, headers
        )
        response = connection.getresponse()
        status, content = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Failure(f"{url}: {reason}; is `sparing serve` running there?") from error
    finally:
        connection.close()
    return _read(url + path, status, content)


def _read(place: str, status: int, content: bytes) -> Any:
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise Failure(f"{place}: status {status}, and the reply is not JSON") from error
    if status != http.client.OK:
        sentence = answer.get("error") if isinstance(answer, dict) else None
        raise Failure(str(sentence or f"{place}: status {status}"))
    return answer

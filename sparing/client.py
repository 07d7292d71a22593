"""An HTTP client for one request to a running server. Failures are one sentence each.

Redirects are not followed, so a token never reaches another server.
"""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from sparing.access import NO_ACCESS, Access
from sparing.failure import Failure

REQUEST_TIMEOUT_S = 60.0  # for the reply; the server enforces the request's own deadline


def request_json(
    url: str,
    path: str,
    body: bytes | None = None,
    content_type: str = "",
    access: Access = NO_ACCESS,
) -> Any:
    """Send GET, or POST if there is a body, and return the decoded JSON.

    Raises Failure if the URL is wrong, the server cannot be reached, the status is not 200 or the
    reply is not JSON.
    """
    return _read(url + path, *_send(url, path, body, content_type, access))


def fetch(url: str, path: str, access: Access = NO_ACCESS) -> bytes:
    """Send GET and return the reply's body. Raises Failure as `request_json` does."""
    status, content = _send(url, path, None, "", access)
    if status != http.client.OK:
        raise Failure(f"{url}{path} answered {status}: {content[:200].decode(errors='replace')}")
    return content


def _send(
    url: str, path: str, body: bytes | None, content_type: str, access: Access
) -> tuple[int, bytes]:
    connection, prefix = _open(url, access)
    headers = access.make_headers()
    if body is not None:
        headers["Content-Type"] = content_type
    try:
        connection.request("GET" if body is None else "POST", prefix + path, body, headers)
        response = connection.getresponse()
        status, content = response.status, response.read()
    except ssl.SSLError as error:
        raise _explain_tls(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Failure(f"{url}: {reason}; is `sparing serve` running there?") from error
    finally:
        connection.close()
    if status == http.client.UNAUTHORIZED:
        raise access.explain_refusal(url)
    return status, content


def _open(url: str, access: Access) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection that is not open yet, and the path in the URL. Raises Failure."""
    server = urlsplit(url)
    if server.scheme not in ("http", "https") or not server.hostname:
        raise Failure(
            f"--url: given {url!r}, allowed http://HOST:PORT or https://HOST:PORT", exit_code=2
        )
    try:
        port = server.port
    except ValueError as error:
        raise Failure(f"--url: given {url!r}: {error}", exit_code=2) from error
    prefix = server.path.rstrip("/")
    if server.scheme == "https":
        tls = access.open_tls()
        return http.client.HTTPSConnection(
            server.hostname, port, timeout=REQUEST_TIMEOUT_S, context=tls
        ), prefix
    if access.ca_file is not None:
        raise Failure(f"--ca-file: needs an https URL, given {url!r}", exit_code=2)
    return http.client.HTTPConnection(server.hostname, port, timeout=REQUEST_TIMEOUT_S), prefix


def _explain_tls(url: str, error: ssl.SSLError) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
        return Failure(
            f"{url}: its certificate is not trusted: {reason}; --ca-file names its CA's certificate"
        )
    reason = (error.reason or "no TLS connection").replace("_", " ").lower()
    return Failure(f"{url}: {reason}; does the server use TLS?")


def _read(place: str, status: int, content: bytes) -> Any:
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise Failure(f"{place}: status {status}, and the reply is not JSON") from error
    if status != http.client.OK:
        sentence = answer.get("error") if isinstance(answer, dict) else None
        raise Failure(str(sentence or f"{place}: status {status}"))
    return answer

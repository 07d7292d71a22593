"""The id that a client gives a request, to find it again in logs and traces of several services."""

HEADER = "x-request-id"
RAW_HEADER = HEADER.encode()
MAX_CHARS = 128


def read_request_id(value: str | bytes | None) -> str:
    """Return a valid id: 1 to 128 printable ASCII characters, none of them a space at either end.
    Anything else is no id: it is neither returned nor recorded.
    """
    if not value or len(value) > MAX_CHARS:
        return ""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text if text.isascii() and text.isprintable() and text.strip() == text else ""

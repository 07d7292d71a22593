"""The error classes. Each endpoint has its own table from class to status code.

SparingError
├── InvalidInput            the caller's request is malformed; names field, given and allowed
│   ├── BodyTooLarge        more bytes or rows than the server's limits allow
│   └── UnsupportedEncoding a compressed body
├── Unauthorized            the bearer token is missing or wrong
├── UnknownRoute            no such route or version
├── Overloaded              a queue or the space for states is full; try again later
├── RequestTimeout          the caller did not send its whole request in time
├── DeadlineExceeded        no answer was possible before the deadline
├── RouteUnavailable        the route is served but cannot answer now (draining, loading)
├── StageFailed             the model raised, or returned values that are not finite
└── ModelDirectoryError     a route directory is damaged or of an unknown kind (at loading only)
"""


class SparingError(Exception):
    """Base of all errors that a caller may see; `str(error)` is the whole sentence."""


class InvalidInput(SparingError):
    """The request is malformed."""


class BodyTooLarge(InvalidInput):
    """The request is larger than the server's limits."""


class UnsupportedEncoding(InvalidInput):
    """The request body is compressed."""


class Unauthorized(SparingError):
    """The bearer token is missing or wrong."""


class UnknownRoute(SparingError):
    """No such route or version is served."""


class Overloaded(SparingError):
    """The server is full; the caller may try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestTimeout(SparingError):
    """The request did not arrive in time."""


class DeadlineExceeded(SparingError):
    """No answer is possible before the deadline."""


class RouteUnavailable(SparingError):
    """The route cannot answer now, though it exists."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StageFailed(SparingError):
    """A stage raised, or returned something that is not an answer."""


class ModelDirectoryError(SparingError):
    """A route directory is damaged, incomplete or of an unknown kind."""

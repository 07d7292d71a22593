"""The error tree. No error knows a status code: each door owns one table from class to code.

SparingError
├── InvalidInput            the caller's request is malformed; names field, given and allowed
│   ├── BodyTooLarge        more bytes or rows than the server's limits allow
│   └── UnsupportedEncoding a compressed body
├── Unauthorized            a bearer token is demanded and was not given
├── UnknownRoute            no such route or version
├── Overloaded              a queue or the memory for states is full; try again later
├── RequestTimeout          the caller did not send its whole request in time
├── DeadlineExceeded        the answer could not be had in time
├── RouteUnavailable        the route is served but cannot answer now (draining, loading)
├── StageFailed             the model raised, or answered with something that is not a number
└── ModelDirectoryError     a route directory is damaged or of an unknown kind (at loading only)
"""


class SparingError(Exception):
    """Root of everything a caller may be told; `str(error)` is the whole sentence."""


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
    """The server has no room; trying again after `retry_after_s` is reasonable."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestTimeout(SparingError):
    """The request did not arrive in time."""


class DeadlineExceeded(SparingError):
    """No answer can be had before the deadline."""


class RouteUnavailable(SparingError):
    """The route cannot answer now, though it exists."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StageFailed(SparingError):
    """A stage raised or returned something that is not an answer."""


class ModelDirectoryError(SparingError):
    """A route directory is damaged, incomplete or of an unknown kind."""

"""Values of the label `result` of `sparing_requests_total`, by whose failure they are."""

# Errors with status 4xx, and clients that disconnected. Overloaded (429) and DeadlineExceeded (504)
# are failures of the server.
CLIENT_ERRORS = (
    "InvalidInput", "BodyTooLarge", "UnsupportedEncoding", "Unauthorized", "UnknownRoute",
    "RequestTimeout", "ClientGone",
)  # fmt: skip

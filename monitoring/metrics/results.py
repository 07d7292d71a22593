"""Values of the label `result` of `sparing_requests_total`, by who must act on them."""

# What is answered with 4xx, and clients that left. Overloaded (429) and DeadlineExceeded (504)
# are the server's.
CLIENT_ERRORS = (
    "InvalidInput", "BodyTooLarge", "UnsupportedEncoding", "Unauthorized", "UnknownRoute",
    "RequestTimeout", "ClientGone",
)  # fmt: skip

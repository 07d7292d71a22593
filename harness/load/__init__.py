"""Load generators over HTTP and gRPC, their requests, and servers that do nothing."""

"""The gRPC endpoint: the Open Inference Protocol, health and reflection."""

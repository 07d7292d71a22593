"""Messages, errors, manifests, confidence scores and devices. Imports no other package here."""

import os

# ONNX Runtime's wheels send usage data to their maker unless told otherwise before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

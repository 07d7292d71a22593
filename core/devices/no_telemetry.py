"""Import this before any module that imports onnxruntime.

ONNX Runtime's wheels for Linux send usage data to their maker unless this variable is set before
they are imported.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

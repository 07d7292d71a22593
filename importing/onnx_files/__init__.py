"""Facts about ONNX files, proved by running them, and edits of their graphs."""

"""Trained nets as ONNX files, checked against torch and timed, and as route directories."""

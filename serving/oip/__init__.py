"""The parts of the Open Inference Protocol that both endpoints share."""

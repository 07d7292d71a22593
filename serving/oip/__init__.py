"""What both endpoints share of the Open Inference Protocol: tensors, parameters, outputs."""

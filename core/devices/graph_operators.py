"""Reads which operators an ONNX file uses, without the `onnx` package, which serving does not need.

The file is a protobuf message (onnx/onnx.proto): field 7 of the model is its graph, field 1 of a
graph a node, field 4 of a node its operator, field 25 of the model a function that a node may call.
"""

from collections.abc import Iterator

_GRAPH, _FUNCTION, _NODE, _OPERATOR = 7, 25, 1, 4
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5

# Their outputs, and so their time, have a size that the inputs' shapes determine.
STEADY = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast",
        "Clip", "Concat", "Constant", "Conv", "DequantizeLinear", "Div", "Elu", "Equal", "Erf",
        "Exp", "Flatten", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater",
        "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul",
        "MatMulInteger", "Max", "MaxPool", "Min", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
        "QLinearAdd", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Sign", "Slice", "Softmax",
        "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip


def find_operators(model: bytes) -> frozenset[str]:
    """Return the operators of the graph; those of a model's own functions as "function".

    Raises ValueError for bytes that are no protobuf message.
    """
    found: set[str] = set()
    for field, content in _read_fields(memoryview(model)):
        if field == _FUNCTION:
            found.add("function")
        elif field == _GRAPH:
            nodes = [node for one, node in _read_fields(content) if one == _NODE]
            names = [name for node in nodes for one, name in _read_fields(node) if one == _OPERATOR]
            found.update(bytes(name).decode("utf-8", "replace") for name in names)
    return frozenset(found)


def _read_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of bytes type; others are skipped."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED_64, _FIXED_32):
            size = 8 if kind == _FIXED_64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + size > end:
            raise ValueError("a field ends behind its message")
        if kind == _BYTES:
            yield tag >> 3, message[at : at + size]
        at += size


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")

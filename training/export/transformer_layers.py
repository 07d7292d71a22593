"""The layers of vision transformers in ONNX, shared by the dense net and the one with learners.

GELU is written as the runtime's own fusion looks for it. Shapes: N pictures, T tokens, D width.
"""

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from torch import nn

from tokens.vision_transformer import Attention, VisionTransformer, VitSpec
from training.export.classifiers import read_image
from training.export.onnx_graph import Floats, Graph, to_numpy


def describe_image(spec: VitSpec) -> tuple[int, tuple[int, ...]]:
    """The element type of the pictures, and the shape of one."""
    size = (spec.size_px, spec.size_px)
    return TensorProto.UINT8, size if len(spec.mean) == 1 else (*size, len(spec.mean))


def embed(graph: Graph, net: VisionTransformer) -> str:
    """The tokens [N, T, D] of `image`."""
    spec = net.spec
    scale = [1.0 / (255.0 * one) for one in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    x = read_image(graph, scale, shift)
    x = graph.write(x, [net.stem], np.array(scale, np.float32))  # [N, D, √patches, √patches]
    x = reshape(graph, x, 0, spec.width, spec.patches)
    x = graph.add("Transpose", x, perm=[0, 2, 1])
    positions = to_numpy(net.positions).copy()
    if net.class_token is not None:
        x = graph.add("Pad", x, graph.constant(np.array([0, 1, 0, 0, 0, 0], np.int64)))
        positions[0] += to_numpy(net.class_token)
    return graph.add("Add", x, graph.constant(positions))


def classify(graph: Graph, x: str, net: VisionTransformer) -> str:
    """The logits of the last block's tokens."""
    if net.class_token is not None:
        first = graph.add("Gather", x, graph.constant(np.int64(0)), axis=1)
        return graph.write(normalise(graph, first, net.norm), [net.head])
    # Not ReduceMean: it adds up in another order for one row than for several.
    x = graph.add("Transpose", normalise(graph, x, net.norm), perm=[0, 2, 1])
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    return graph.write(x, [net.head])


def attend(graph: Graph, z: str, attention: Attention) -> str:
    """Dense attention, with its projections."""
    scale = find_scale(attention.q.in_features, attention.heads)
    projected = [
        multiply(graph, z, linear, factor)
        for linear, factor in ((attention.q, scale), (attention.k, 1.0), (attention.v, 1.0))
    ]
    tokens, width = -1, attention.q.in_features
    mixed = mix(graph, projected, tokens, width, attention.heads)
    return multiply(graph, reshape(graph, mixed, 0, tokens, width), attention.o)


def mix(graph: Graph, projected: Sequence[str], tokens: int, width: int, heads: int) -> str:
    """Every head's mixture of values, [N, T, heads, D / heads], of scaled queries, keys and values,
    each [N, T, D] or [N * T, D]."""
    rows = 0 if tokens == -1 else -1
    q, k, v = (
        graph.add("Transpose", reshape(graph, one, rows, tokens, heads, width // heads), perm=perm)
        for one, perm in zip(projected, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    weights = graph.add("Softmax", graph.add("MatMul", q, k), axis=-1)
    return graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])


def find_scale(width: int, heads: int) -> float:
    """What queries are multiplied by."""
    return 1 / math.sqrt(width // heads)


def multiply(graph: Graph, x: str, linear: nn.Linear, factor: float = 1.0) -> str:
    """The linear layer on the last axis, its result times `factor`."""
    weight: Floats = np.ascontiguousarray(to_numpy(linear.weight).T) * np.float32(factor)
    bias: Floats = to_numpy(linear.bias) * np.float32(factor)
    return graph.add("Add", graph.add("MatMul", x, graph.constant(weight)), graph.constant(bias))


def normalise(graph: Graph, x: str, norm: nn.LayerNorm) -> str:
    """Layer norm on the last axis."""
    weight, bias = graph.constant(to_numpy(norm.weight)), graph.constant(to_numpy(norm.bias))
    return graph.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=norm.eps)


def gelu(graph: Graph, x: str) -> str:
    """x / 2 * (1 + erf(x / √2))."""
    root = graph.constant(np.float32(math.sqrt(2)))
    one, half = graph.constant(np.float32(1)), graph.constant(np.float32(0.5))
    share = graph.add("Add", graph.add("Erf", graph.add("Div", x, root)), one)
    return graph.add("Mul", graph.add("Mul", x, share), half)


def reshape(graph: Graph, x: str, *shape: int) -> str:
    """0 keeps a size, -1 is what remains."""
    return graph.add("Reshape", x, graph.constant(np.array(shape, np.int64)))

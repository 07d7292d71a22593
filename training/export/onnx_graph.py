"""An ONNX graph written directly from torch modules, batch norm folded into convolutions.

Nets are lists of a few kinds of layers, so a tracer is not needed. The modules beside this one
write the graphs and compare them with torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.nets.pools import ResidualBlock

OPSET = 17
IR_VERSION = 8

_PLAIN: Mapping[type[nn.Module], str] = {
    nn.ReLU: "Relu",
    nn.Sigmoid: "Sigmoid",
    nn.Flatten: "Flatten",
    nn.AdaptiveAvgPool2d: "GlobalAveragePool",  # to 1 x 1
    nn.AdaptiveMaxPool2d: "GlobalMaxPool",
}

Floats = npt.NDArray[np.float32]
Shape = Sequence[int]  # of one row
INT64 = TensorProto.INT64
NONE: Mapping[str, tuple[str, Shape]] = MappingProxyType({})


class Graph:
    """Nodes and constants in the order they are added."""

    def __init__(self, name: str = "", outer: "Graph | None" = None) -> None:
        """A branch of `outer` has a name, and uses what was added to it; see `choose`."""
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = outer._constants if outer else []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:  # Any: onnx's own signature
        """Add a node; the name of its output."""
        return self.divide(kind, 1, *inputs, **attributes)[0]

    def divide(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs; their names."""
        name = f"{self._name}{kind.lower()}_{len(self._nodes)}"
        outputs = [name] if count == 1 else [f"{name}_{place}" for place in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs

    def choose(
        self, condition: str, *branches: tuple["Graph", Sequence[tuple[str, int]]]
    ) -> list[str]:
        """Run the first branch where the condition holds, else the second; the names of the
        outputs. A branch comes with what it returns: names and element types.
        """
        bodies = []
        for graph, returned in branches:
            infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in returned]
            bodies.append(helper.make_graph(graph._nodes, graph._name or "branch", [], infos))
        then_branch, else_branch = bodies
        return self.divide(
            "If", len(branches[0][1]), condition, then_branch=then_branch, else_branch=else_branch
        )

    def constant(self, value: npt.NDArray[np.generic] | np.generic) -> str:
        """The name of this constant."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def convolution(
        self, x: str, conv: nn.Module, norm: nn.Module | None, scale: Floats | None = None
    ) -> str:
        """The convolution of `scale * x`, one scale a channel, with the normalisation folded in."""
        assert isinstance(conv, nn.Conv2d) and not isinstance(conv.padding, str)
        weight, bias = _fold(conv, norm)
        if scale is not None:
            weight = weight * scale[:, None, None]
        return self.add(
            "Conv",
            x,
            self.constant(weight),
            self.constant(bias),
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[*conv.padding, *conv.padding],
        )

    def write(self, x: str, modules: Iterable[nn.Module], scale: Floats | None = None) -> str:
        """Modules one after the other, nested ones too, applied to x; the first, which must be a
        convolution then, to `scale * x`.
        """
        flat = [leaf for module in modules for leaf in _flatten(module)]
        while flat:
            module = flat.pop(0)
            if isinstance(module, nn.Conv2d):
                norm = flat.pop(0) if flat and isinstance(flat[0], nn.BatchNorm2d) else None
                x = self.convolution(x, module, norm, scale)
            else:
                assert scale is None, "only a convolution can apply a scale"
                x = self._write_one(x, module)
            scale = None
        return x

    def model(
        self,
        *,
        inputs: Mapping[str, tuple[int, Shape]],  # name -> element type, shape of a row
        outputs: Mapping[str, tuple[str, Shape]],  # name -> what was added, shape of a row, FP32
        switches: Sequence[str] = (),  # inputs of one BOOL for all rows
        counts: Mapping[str, tuple[str, Shape]] = NONE,  # further outputs, INT64
    ) -> onnx.ModelProto:
        """The checked model; the number of rows is free."""
        kinds = {**dict.fromkeys(outputs, TensorProto.FLOAT), **dict.fromkeys(counts, INT64)}
        outputs = {**outputs, **counts}
        names = {added: name for name, (added, _) in outputs.items()}
        for node in self._nodes:
            node.input[:] = [names.get(one, one) for one in node.input]
            node.output[:] = [names.get(one, one) for one in node.output]
        graph = helper.make_graph(
            self._nodes,
            "net",
            [
                helper.make_tensor_value_info(name, kind, ["N", *shape])
                for name, (kind, shape) in inputs.items()
            ]
            + [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in switches],
            [
                helper.make_tensor_value_info(name, kinds[name], ["N", *shape])
                for name, (_, shape) in outputs.items()
            ],
            self._constants,
        )
        model = helper.make_model(
            graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _write_one(self, x: str, module: nn.Module) -> str:
        if type(module) in _PLAIN:
            return self.add(_PLAIN[type(module)], x)
        match module:
            case ResidualBlock():
                inner = self.write(x, [module.first])
                added = self.convolution(inner, module.second[0], module.second[1])
                return self.add("Relu", self.add("Add", x, added))
            case nn.MaxPool2d():
                assert module.kernel_size == module.stride == 2 and module.padding == 0
                sizes = {"kernel_shape": [2, 2], "strides": [2, 2]}
                return self.add("MaxPool", x, ceil_mode=int(module.ceil_mode), **sizes)
            case nn.Unflatten():
                shape = np.array([-1, *module.unflattened_size], np.int64)
                return self.add("Reshape", x, self.constant(shape))
            case nn.Linear():
                weight, bias = self.constant(to_numpy(module.weight)), to_numpy(module.bias)
                return self.add("Gemm", x, weight, self.constant(bias), transB=1)
        raise ValueError(f"cannot export a layer of type {type(module).__name__}")


def to_numpy(tensor: torch.Tensor) -> Floats:
    """float32, contiguous."""
    values: Floats = tensor.detach().to(torch.float32).contiguous().numpy()
    return np.ascontiguousarray(values)


def _flatten(module: nn.Module) -> list[nn.Module]:
    """The leaves of nested sequences, in order, without the layers that do nothing in inference."""
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in _flatten(child)]
    return [] if isinstance(module, nn.Dropout | nn.Identity) else [module]


def _fold(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Floats, Floats]:
    """Weights and bias of the convolution which does both, computed in float64."""
    if norm is None:
        assert conv.bias is not None, "without a normalisation our convolutions have one"
        return to_numpy(conv.weight), to_numpy(conv.bias)
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None, "our nets track statistics"
    gain = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    weight = conv.weight.double() * gain[:, None, None, None]
    bias = norm.bias.double() - mean.double() * gain
    return to_numpy(weight), to_numpy(bias)

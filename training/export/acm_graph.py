"""A net with learners as one ONNX graph, whose tokens of all pictures are worked on together.

Inputs: `image` uint8 [N, S, S] or [N, S, S, 3], `beta` float32 [N], each picture's budget in
[0, 1], and `sorted`, one BOOL. Outputs: `logits` float32 [N, K], and `learners` int64 [N, T, M],
how many each module ran for each token.

The graph has two branches, because each is the faster one for some number of tokens. With `sorted`
tokens are put together by their choice, each group runs the product of its prefix of learners, and
one gather puts the tokens back. Otherwise all learners run, and what was not chosen is multiplied
by zero. Both give the same bits: a product over a prefix adds what the longer product adds before
its zeros. So a picture's answer does not depend on how many came with it. Projections are masked in
both branches unless they are wide: sorting narrow ones was measured to cost more than it saves.

Shapes: N pictures, T tokens, D width, M modules, K classes, R = N T rows, L layers of a module, W
hidden units of a learner.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from tokens.acm.gate import Gate
from tokens.acm.learners import LearnerSpec
from tokens.acm.module import Acm
from tokens.acm.network import AcmAttention, AcmBlock, AcmVit
from tokens.vision_transformer import Attention
from training.export.onnx_graph import INT64, Floats, Graph, to_numpy
from training.export.transformer_layers import (
    attend,
    classify,
    describe_image,
    embed,
    find_scale,
    gelu,
    mix,
    normalise,
    reshape,
)

SORTED_PROJECTION_WIDTH = 512


def export_acm(net: AcmVit, path: Path) -> None:
    """Write the graph."""
    path.write_bytes(make_model(net).SerializeToString())


def make_model(net: AcmVit) -> onnx.ModelProto:
    """The graph. Weights are stored once for both branches."""
    outer, spec = Graph(), net.spec
    modules = net.modules_in_order()
    x = reshape(outer, embed(outer, net.outer), -1, spec.width)
    budgets = _spread_budgets(outer, [module.gate for module in modules], spec.tokens)
    weights = [_Weights(outer, module, factors) for module, factors in _with_factors(net)]
    kinds: tuple[type[_Branch], ...] = (_Sorted, _Masked)
    branches = [kind(outer, net, weights, budgets).write(x) for kind in kinds]
    logits, chosen = outer.choose("sorted", *branches)
    smallest = np.array([module.gate.smallest for module in modules])
    learners = outer.add("Add", chosen, outer.constant(smallest))
    return outer.model(
        inputs={"image": describe_image(spec), "beta": (TensorProto.FLOAT, ())},
        switches=("sorted",),
        outputs={"logits": (logits, (spec.classes,))},
        counts={"learners": (learners, (spec.tokens, len(modules)))},
    )


@dataclass(frozen=True, slots=True)
class _Budget:
    """What each row's budget adds to a gate's hidden units [R, H] and to its logits [R, C]."""

    hidden: str
    logits: str


class _Weights:
    """A module's constants: of all its layers, and for every prefix of learners."""

    def __init__(self, outer: Graph, acm: Acm, factors: Sequence[float]) -> None:
        self.acm, self.outer = acm, outer
        layers = acm.replaced
        self._first = [outer.constant(_transpose(one.first)) for one in layers]
        self._first_bias = [outer.constant(to_numpy(one.first_bias)) for one in layers]
        self._second = [
            outer.constant(to_numpy(one.second) * np.float32(factor))
            for one, factor in zip(layers, factors, strict=True)
        ]
        self.biases = [
            outer.constant(to_numpy(one.bias) * np.float32(factor))
            for one, factor in zip(layers, factors, strict=True)
        ]

    def hide(self, graph: Graph, rows: str, count: int) -> str:
        """The hidden units [R, L * count * W] of the first learners of every layer."""
        units = count * self.spec.hidden
        first = self._join([self._cut(one, units, 1) for one in self._first], 1)
        bias = self._join([self._cut(one, units, 0) for one in self._first_bias], 0)
        hidden = graph.add("Gemm", rows, first, bias)
        return gelu(graph, hidden) if self.spec.gelu else hidden

    def add_up(self, graph: Graph, hidden: str, count: int) -> list[str]:
        """Every layer's output [R, E] of these hidden units."""
        units = count * self.spec.hidden
        parts = [hidden]
        if len(self.biases) > 1:
            parts = graph.divide("Split", len(self.biases), hidden, axis=1)
        return [
            graph.add("Gemm", part, self._cut(second, units, 0), bias)
            for part, second, bias in zip(parts, self._second, self.biases, strict=True)
        ]

    @property
    def spec(self) -> LearnerSpec:
        return self.acm.replaced[0].spec

    def _cut(self, constant: str, units: int, axis: int) -> str:
        """The first units of a constant; the runtime cuts it once, when it loads the graph."""
        if units == self.spec.learners * self.spec.hidden:
            return constant
        start, stop, axes = (np.array([one], np.int64) for one in (0, units, axis))
        limits = [self.outer.constant(one) for one in (start, stop, axes)]
        return self.outer.add("Slice", constant, *limits)

    def _join(self, constants: Sequence[str], axis: int) -> str:
        return (
            constants[0] if len(constants) == 1 else self.outer.add("Concat", *constants, axis=axis)
        )


class _Branch(ABC):
    """Writes the blocks and the head once, in one form."""

    name: ClassVar[str]

    def __init__(
        self,
        outer: Graph,
        net: AcmVit,
        weights: Sequence[_Weights],
        budgets: Sequence[_Budget],
    ) -> None:
        self.graph = Graph(f"{self.name}_", outer)
        self._net = net
        self._modules = iter(zip(weights, budgets, strict=True))
        self._chosen: list[str] = []

    def write(self, x: str) -> tuple[Graph, list[tuple[str, int]]]:
        """The branch, and what it returns: the logits [N, K] and the choices [N, T, M]."""
        graph, spec = self.graph, self._net.spec
        for block in self._net.blocks:
            assert isinstance(block, AcmBlock)
            x = self._add_block(x, block)
        x = reshape(graph, x, -1, spec.tokens, spec.width)
        logits = classify(graph, x, self._net.outer)
        chosen = graph.add("Concat", *self._chosen, axis=0)
        chosen = reshape(graph, chosen, len(self._chosen), -1, spec.tokens)
        chosen = graph.add("Transpose", chosen, perm=[1, 2, 0])
        return graph, [(logits, TensorProto.FLOAT), (chosen, INT64)]

    @abstractmethod
    def run(self, weights: _Weights, rows: str, places: str) -> list[str]:
        """Every layer's output [R, E]. `places` [R]: each row's choice less the smallest."""

    def _add_block(self, x: str, block: AcmBlock) -> str:
        graph, spec = self.graph, self._net.spec
        z = normalise(graph, x, block.attention_norm)
        if isinstance(block.attention, Attention):
            y = attend(graph, reshape(graph, z, -1, spec.tokens, spec.width), block.attention)
            y = reshape(graph, y, -1, spec.width)
        else:
            projected = [y for _ in block.attention.inputs for y in self._run_next(z)]
            mixed = mix(graph, projected, spec.tokens, spec.width, spec.heads)
            (y,) = self._run_next(reshape(graph, mixed, -1, spec.width))
        x = graph.add("Add", x, y)
        (y,) = self._run_next(normalise(graph, x, block.mlp_norm))
        return graph.add("Add", x, y)

    def _run_next(self, rows: str) -> list[str]:
        weights, budget = next(self._modules)
        places = self._choose(weights.acm.gate, rows, budget)
        self._chosen.append(places)
        return self.run(weights, rows, places)

    def _choose(self, gate: Gate, rows: str, budget: _Budget) -> str:
        """Each row's choice less the smallest: [R]."""
        graph = self.graph
        first, last = (graph.constant(to_numpy(one.weight)) for one in (gate.first, gate.last))
        hidden = gelu(graph, graph.add("Gemm", rows, first, budget.hidden, transB=1))
        hidden = gelu(graph, graph.write(hidden, [gate.second]))
        logits = graph.add("Gemm", hidden, last, budget.logits, transB=1)
        return graph.add("ArgMax", logits, axis=1, keepdims=0)


class _Masked(_Branch):
    """All learners run; hidden units of those that were not chosen become zero."""

    name = "masked"

    def run(self, weights: _Weights, rows: str, places: str) -> list[str]:
        return mask(self.graph, weights, rows, places)


class _Sorted(_Branch):
    """Rows of one choice are put together: learners that were not chosen do not run."""

    name = "sorted"
    _every_place = ""

    def run(self, weights: _Weights, rows: str, places: str) -> list[str]:
        if not sorts(weights.acm):
            return mask(self.graph, weights, rows, places)
        graph, smallest = self.graph, weights.acm.gate.smallest
        if not self._every_place:
            self._every_place = self._number_rows(places)
        groups: list[str] = []
        outputs: list[list[str]] = []
        for count in range(smallest, weights.spec.learners + 1):
            wanted = graph.constant(np.int64(count - smallest))
            found = graph.add("NonZero", graph.add("Equal", places, wanted))
            groups.append(reshape(graph, found, -1))
            outputs.append(self._run_group(weights, rows, groups[-1], count))
        order = graph.add("Concat", *groups, axis=0)
        back = graph.add("ScatterElements", self._every_place, order, self._every_place)
        return [
            graph.add("Gather", graph.add("Concat", *layer, axis=0), back)
            for layer in zip(*outputs, strict=True)
        ]

    def _run_group(self, weights: _Weights, rows: str, group: str, count: int) -> list[str]:
        """Every layer's output for the rows that chose so many learners."""
        graph = self.graph
        if count == 0:
            size = graph.add("Shape", group)
            one = graph.constant(np.array([1], np.int64))
            shape = graph.add("Concat", size, one, axis=0)
            return [graph.add("Expand", bias, shape) for bias in weights.biases]
        hidden = weights.hide(graph, graph.add("Gather", rows, group), count)
        return weights.add_up(graph, hidden, count)

    def _number_rows(self, places: str) -> str:
        """0, 1, ... R - 1."""
        graph = self.graph
        zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
        return graph.add("Range", zero, graph.add("Size", places), one)


def sorts(acm: Acm) -> bool:
    """Whether the sorted branch sorts the tokens of this module."""
    spec = acm.replaced[0].spec
    return spec.gelu or spec.inputs >= SORTED_PROJECTION_WIDTH


def mask(graph: Graph, weights: _Weights, rows: str, places: str) -> list[str]:
    """Every layer's output [R, E] with all learners run."""
    spec, layers = weights.spec, len(weights.biases)
    units = np.arange(spec.learners * spec.hidden) // spec.hidden
    chosen = np.arange(weights.acm.gate.smallest, spec.learners + 1)[:, None] > units
    table = graph.constant(np.tile(chosen, layers).astype(np.float32))
    hidden = weights.hide(graph, rows, spec.learners)
    hidden = graph.add("Mul", hidden, graph.add("Gather", table, places))
    return weights.add_up(graph, hidden, spec.learners)


def _with_factors(net: AcmVit) -> Iterator[tuple[Acm, Sequence[float]]]:
    """The modules in order; the scale of attention belongs to the layer that makes queries."""
    scale = find_scale(net.spec.width, net.spec.heads)
    for block in net.blocks:
        assert isinstance(block, AcmBlock)
        for place, module in enumerate(block.modules_in_order()):
            factors = [1.0] * len(module.replaced)
            if isinstance(block.attention, AcmAttention) and place == 0:
                factors[0] = scale
            yield module, factors


def _spread_budgets(graph: Graph, gates: Sequence[Gate], tokens: int) -> list[_Budget]:
    """What every gate gets of each row's budget, and its biases, by one product."""
    one = graph.constant(np.array([1], np.int64))
    beta = graph.add("Unsqueeze", "beta", one)
    terms = graph.add("Concat", beta, graph.add("Mul", beta, beta), graph.add("Sqrt", beta), axis=1)
    weight = [layer.weight for gate in gates for layer in (gate.budget, gate.shift)]
    bias = [part for gate in gates for part in (gate.budget.bias + gate.first.bias, gate.last.bias)]
    sizes = [len(part) for part in bias]
    constants = [graph.constant(to_numpy(torch.cat(parts))) for parts in (weight, bias)]
    spread = reshape(graph, graph.add("Gemm", terms, *constants, transB=1), -1, 1, sum(sizes))
    shape = graph.constant(np.array([1, tokens, 1], np.int64))
    spread = reshape(graph, graph.add("Expand", spread, shape), -1, sum(sizes))
    parts = graph.divide(
        "Split", len(sizes), spread, graph.constant(np.array(sizes, np.int64)), axis=1
    )
    return [_Budget(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def _transpose(parameter: Tensor) -> Floats:
    return np.ascontiguousarray(to_numpy(parameter).T)

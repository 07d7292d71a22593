"""Early exits on a trained transformer, after "Zero Time Waste" (arXiv 2106.05409).

A head after every layer but the last reads the mean token and the answer of the head before it,
through which no gradient passes. The answer at an exit is a geometric ensemble of all heads so far:
a weighted sum of their log-probabilities, with learnt weights and biases. The paper trains heads
first and ensembles after them; here both learn at once, for an ensemble sends its heads no
gradient. The trunk is frozen, as in the paper, or learns with the heads.

Shapes: B pictures, T tokens, D width, K classes, X exits.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokens.acm.network import count_attention, count_outer
from tokens.vision_transformer import VisionTransformer
from training.fitting.vit import task_loss

HEADS_RATE = 4.0  # times the trunk's: they begin anew


class ExitVit(nn.Module):
    """uint8 pictures in; the logits [B, K] of the ensemble at every exit out."""

    def __init__(self, dense: VisionTransformer, *, frozen: bool) -> None:
        super().__init__()
        spec = dense.spec
        self.trunk = copy.deepcopy(dense)
        self.frozen = frozen
        self.heads = nn.ModuleList(
            _make_head(spec.width + (spec.classes if place else 0), spec.width, spec.classes)
            for place in range(spec.layers - 1)
        )
        self.weights = nn.Parameter(torch.zeros(spec.layers, spec.layers))  # before softplus
        self.biases = nn.Parameter(torch.zeros(spec.layers, spec.classes))
        if frozen:
            self.trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> "ExitVit":
        super().train(mode)
        if self.frozen:
            self.trunk.eval()  # batch norms keep their statistics
        return self

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return self.combine(self.answer(pictures))

    def answer(self, pictures: Tensor) -> list[Tensor]:
        """Each head's own logits; the last ones are the trunk's."""
        x_BTD = self.trunk.embed(pictures)
        logits: list[Tensor] = []
        for place, block in enumerate(self.trunk.blocks):
            x_BTD = block(x_BTD)
            logits.append(self._answer_at(place, x_BTD, logits))
        return logits

    def combine(self, logits: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The ensemble at each exit, of the heads up to it."""
        return tuple(self._combine_at(place, logits) for place in range(len(logits)))

    @torch.no_grad()
    def answer_early(self, pictures: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """Each picture's logits [B, K] at the first exit that is sure enough, and its place [B].
        Pictures that left run no further layer."""
        trunk = self.trunk
        x_BTD = trunk.embed(pictures)
        going = torch.arange(len(pictures))
        answers = x_BTD.new_empty(len(pictures), trunk.spec.classes)
        left = torch.empty(len(pictures), dtype=torch.int64)
        own: list[Tensor] = []
        for place, block in enumerate(trunk.blocks):
            x_BTD = block(x_BTD)
            own.append(self._answer_at(place, x_BTD, own))
            logits_BK = self._combine_at(place, own)
            sure_B = logits_BK.softmax(dim=1).amax(dim=1) >= threshold
            if place == len(self.heads):
                sure_B[:] = True
            answers[going[sure_B]], left[going[sure_B]] = logits_BK[sure_B], place
            going, x_BTD = going[~sure_B], x_BTD[~sure_B]
            own = [one[~sure_B] for one in own]
            if not len(going):
                break
        return answers, left

    def loss(self, pictures: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        """The mean over heads, and over ensembles; a frozen trunk's own head does not count."""
        logits = self.answer(pictures)
        learning = logits[:-1] if self.frozen else logits
        losses = [task_loss(one, labels, taught) for one in learning]
        together = [nn.functional.cross_entropy(one, labels) for one in self.combine(logits)]
        return torch.stack(losses).mean() + torch.stack(together).mean()

    def groups(self) -> list[dict[str, Any]]:
        """What learns, for an optimizer."""
        anew = [*self.heads.parameters(), self.weights, self.biases]
        groups = [{"params": anew, "rate_factor": HEADS_RATE}]
        return groups if self.frozen else [{"params": [*self.trunk.parameters()]}, *groups]

    def macs(self) -> list[int]:
        """Of a picture that leaves at each exit: trunk, heads and ensembles so far."""
        spec = self.trunk.spec
        own = spec.width * spec.classes
        total = count_outer(spec) - own
        layer = spec.tokens * (4 * spec.width**2 + 2 * spec.width * spec.hidden)
        layer += count_attention(spec)
        found: list[int] = []
        for place in range(spec.layers):
            head = _count_head(self.heads[place]) if place < len(self.heads) else own
            total += layer + head + (place + 1) * spec.classes
            found.append(total)
        return found

    def _answer_at(self, place: int, x_BTD: Tensor, before: Sequence[Tensor]) -> Tensor:
        """The logits of one head, which sees those of the head before it."""
        if place == len(self.heads):
            return self.trunk.classify(x_BTD)
        mean_BD = x_BTD.mean(dim=1)
        if before:
            mean_BD = torch.cat([mean_BD, before[-1].detach()], dim=1)
        logits_BK: Tensor = self.heads[place](mean_BD)
        return logits_BK

    def _combine_at(self, place: int, logits: Sequence[Tensor]) -> Tensor:
        own = slice(place + 1)
        log_XBK = torch.stack([one.detach().log_softmax(dim=1) for one in logits[own]])
        weights_X = nn.functional.softplus(self.weights[place, own])
        return torch.einsum("x,xbk->bk", weights_X, log_XBK) + self.biases[place]


def _make_head(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, classes)
    )


def _count_head(head: nn.Module) -> int:
    layers = [one for one in head.modules() if isinstance(one, nn.Linear)]
    return sum(one.in_features * one.out_features for one in layers)

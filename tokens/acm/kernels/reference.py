"""What the kernels compute, in plain torch, in the precision that is asked for.

Every learner runs for every row and what was not chosen becomes zero: slow, and easy to believe.
Shapes: R rows (tokens) of B pictures, D inputs, E outputs, N learners, C choices.
"""

import torch
from torch import Tensor

from tokens.acm.gate import Gate
from tokens.acm.learners import Learners


@torch.no_grad()
def gate_rows(
    gate: Gate, x_RD: Tensor, beta_B: Tensor, dtype: torch.dtype = torch.float64
) -> Tensor:
    """The logits [R, C] of rows that are the tokens of B pictures, as many of each."""
    x_BTD = x_RD.view(len(beta_B), -1, x_RD.shape[1]).to(dtype)
    beta_B = beta_B.to(dtype)
    terms_B1P = torch.stack([beta_B, beta_B**2, beta_B.sqrt()], dim=-1).unsqueeze(1)
    hidden = _apply(gate.first, x_BTD) + _apply(gate.budget, terms_B1P)
    hidden = _apply(gate.second, torch.nn.functional.gelu(hidden))
    logits = _apply(gate.last, torch.nn.functional.gelu(hidden)) + _apply(gate.shift, terms_B1P)
    return logits.flatten(0, 1)


def sort_rows(chosen_R: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers, the largest choice first and rows of one choice in their order; the choices in
    that order."""
    rows_R = chosen_R.argsort(descending=True, stable=True)
    return rows_R, chosen_R[rows_R]


@torch.no_grad()
def run_learners(
    learners: Learners, x_RD: Tensor, chosen_R: Tensor, dtype: torch.dtype = torch.float64
) -> Tensor:
    """The sum of the first k learners' outputs for each row that chose k, and the bias: [R, E]."""
    spec = learners.spec
    hidden = torch.nn.functional.linear(
        x_RD.to(dtype), learners.first.to(dtype), learners.first_bias.to(dtype)
    )
    if spec.gelu:
        hidden = torch.nn.functional.gelu(hidden)
    learner_of_unit = torch.arange(hidden.shape[1], device=x_RD.device) // spec.hidden
    hidden = hidden * (chosen_R.unsqueeze(1) > learner_of_unit)
    return hidden @ learners.second.to(dtype) + learners.bias.to(dtype)


def _apply(linear: torch.nn.Linear, x: Tensor) -> Tensor:
    bias = None if linear.bias is None else linear.bias.to(x.dtype)
    return torch.nn.functional.linear(x, linear.weight.to(x.dtype), bias)

"""Phase II: gates learn how many learners a token needs, before they learn anything else.

For one budget, the label of a token is the first n from 2 on whose error is no longer clearly below
that of n - 1: d(n) / d(n - 1) >= τ, and N where there is none (arXiv 2312.10193, equations 4 to 6).
It does not depend on the budget. For every budget, a budget β is drawn for each picture, and a
token's label is the number of learners whose gain is among the largest β of all gains: what the
squared error falls by, of all tokens of the batch in this module. Then gates begin by keeping the
budgets. Learners stay as they are.
"""

from functools import partial

import torch
from torch import Tensor, nn

from tokens.acm.module import Acm
from training.fitting.loop import Job, learning_rate
from training.fitting.vit import CLIP_NORM, count_steps, draw_batches
from training.token_choice.setting import Setting
from training.token_choice.tracing import Traced, trace

PEAK_LEARNING_RATE = 1e-2
STILL_WORSE = 1 / 1.2  # τ
JUDGED_ROWS = 500


def make_job(setting: Setting, *, name: str, epochs: int, every_budget: bool) -> Job:
    """How the gates learn, for the loop; it is judged by the labels they meet on held-out
    pictures."""
    net, dense = setting.net, setting.dense.eval()
    modules = net.modules_in_order()

    def label(acm: Acm, traced: Traced, beta_B: Tensor) -> Tensor:
        distance_NR = measure_distances(acm, traced)
        if not every_budget:
            return choose_labels(distance_NR)
        beta_R = beta_B.repeat_interleave(traced.inputs_BTD.shape[1])
        return choose_labels_by_gain(distance_NR, beta_R).clamp(min=acm.gate.smallest)

    def loss(pictures: Tensor, labels: Tensor) -> Tensor:
        beta_B = torch.rand(len(pictures))
        traced = trace(dense, pictures, net.settings)
        losses = []
        for acm, seen in zip(modules, traced, strict=True):
            logits_BTC = acm.gate(seen.inputs_BTD, beta_B)
            wanted_R = label(acm, seen, beta_B) - acm.gate.smallest
            losses.append(nn.functional.cross_entropy(logits_BTC.flatten(0, 1), wanted_R))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def judge() -> float:
        pictures = torch.from_numpy(setting.data.held_out.pictures[:JUDGED_ROWS].copy())
        beta_B = torch.full((len(pictures),), 0.5)
        met = []
        for acm, seen in zip(modules, trace(dense, pictures, net.settings), strict=True):
            chosen_R = acm.gate(seen.inputs_BTD, beta_B).argmax(dim=-1).flatten()
            wanted_R = label(acm, seen, beta_B)
            met.append((chosen_R + acm.gate.smallest == wanted_R).float().mean())
        return float(torch.stack(met).mean())

    return Job(
        name=name,
        net=net,
        recipe=(
            f"{setting.origin} label epochs={epochs} rate={PEAK_LEARNING_RATE} "
            f"every_budget={every_budget}"
        ),
        seed=setting.seed,
        epochs=epochs,
        optimizer=torch.optim.AdamW(
            [parameter for acm in modules for parameter in acm.gate.parameters()],
            lr=PEAK_LEARNING_RATE,
            weight_decay=0.0,
            fused=True,
        ),
        learning_rate=partial(
            learning_rate, epochs=epochs, peak=PEAK_LEARNING_RATE, warm_up_epochs=0.2
        ),
        steps=count_steps(setting.data),
        batches=partial(draw_batches, setting.data, None),
        loss=loss,
        judge=judge,
        clip_norm=CLIP_NORM,
    )


@torch.no_grad()
def measure_distances(acm: Acm, traced: Traced) -> Tensor:
    """From each prefix to the layers' outputs [N + 1, R]; layers that share a gate count as one."""
    x_RD = traced.inputs_BTD.flatten(0, 1)
    squares_NR = torch.zeros(())
    for layer, wanted_BTE in zip(acm.replaced, traced.outputs, strict=True):
        wanted_RE = wanted_BTE.flatten(0, 1)
        missed = [(given_RE - wanted_RE).square().sum(1) for given_RE in layer.prefixes(x_RD)]
        squares_NR = squares_NR + torch.stack(missed)
    return squares_NR.sqrt()


def choose_labels(distance_NR: Tensor) -> Tensor:
    """The labels for the distances of prefixes of 0 to N learners, [N + 1, R]."""
    learners = len(distance_NR) - 1
    if learners == 1:
        return torch.ones_like(distance_NR[0], dtype=torch.int64)
    stops = distance_NR[2:] >= STILL_WORSE * distance_NR[1:-1]
    stops[-1] = True
    return stops.int().argmax(dim=0) + 2


def choose_labels_by_gain(distance_NR: Tensor, beta_R: Tensor) -> Tensor:
    """The number of learners whose gain is among the largest share β of all gains: int64 [R].

    A learner's gain counts at most as much as that of the one before it, so that labels are
    prefixes. At β = 1 all learners count, at β = 0 none.
    """
    squares_NR = distance_NR.square()
    gains_NR = (squares_NR[:-1] - squares_NR[1:]).cummin(dim=0).values
    ranked = gains_NR.flatten().sort().values
    places_R = ((1 - beta_R) * len(ranked)).long()
    least_R = torch.where(
        places_R < len(ranked), ranked[places_R.clamp(max=len(ranked) - 1)], torch.inf
    )
    return (gains_NR >= least_R).sum(dim=0)

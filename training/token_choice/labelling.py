"""Phase II: gates learn how many learners a token needs, before they learn anything else.

The label of a token is the first n from 2 on whose error is no longer clearly below that of n - 1:
d(n) / d(n - 1) >= τ, and N where there is none (arXiv 2312.10193, equations 4 to 6). Learners stay
as they are. A budget is drawn for every picture, for gates take one, though no label depends on it.
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


def make_job(setting: Setting, *, name: str, epochs: int) -> Job:
    """How the gates learn, for the loop; it is judged by the labels they meet on held-out
    pictures."""
    net, dense = setting.net, setting.dense.eval()
    modules = net.modules_in_order()

    def loss(pictures: Tensor, labels: Tensor) -> Tensor:
        beta_B = torch.rand(len(pictures))
        traced = trace(dense, pictures, net.settings)
        losses = []
        for acm, seen in zip(modules, traced, strict=True):
            logits_BTC = acm.gate(seen.inputs_BTD, beta_B)
            wanted_R = label(acm, seen) - acm.gate.smallest
            losses.append(nn.functional.cross_entropy(logits_BTC.flatten(0, 1), wanted_R))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def judge() -> float:
        pictures = torch.from_numpy(setting.data.held_out.pictures[:JUDGED_ROWS].copy())
        beta_B = torch.full((len(pictures),), 0.5)
        met = []
        for acm, seen in zip(modules, trace(dense, pictures, net.settings), strict=True):
            chosen_R = acm.gate(seen.inputs_BTD, beta_B).argmax(dim=-1).flatten()
            met.append((chosen_R + acm.gate.smallest == label(acm, seen)).float().mean())
        return float(torch.stack(met).mean())

    return Job(
        name=name,
        net=net,
        recipe=f"{setting.origin} label epochs={epochs} rate={PEAK_LEARNING_RATE}",
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
def label(acm: Acm, traced: Traced) -> Tensor:
    """How many learners each token needs: int64 [R]. Layers that share a gate add their errors."""
    x_RD = traced.inputs_BTD.flatten(0, 1)
    squares_NR = torch.zeros(())
    for layer, wanted_BTE in zip(acm.replaced, traced.outputs, strict=True):
        wanted_RE = wanted_BTE.flatten(0, 1)
        missed = [(given_RE - wanted_RE).square().sum(1) for given_RE in layer.prefixes(x_RD)]
        squares_NR = squares_NR + torch.stack(missed)
    return choose_labels(squares_NR.sqrt())


def choose_labels(distance_NR: Tensor) -> Tensor:
    """The labels for the distances of prefixes of 0 to N learners, [N + 1, R]."""
    learners = len(distance_NR) - 1
    if learners == 1:
        return torch.ones_like(distance_NR[0], dtype=torch.int64)
    stops = distance_NR[2:] >= STILL_WORSE * distance_NR[1:-1]
    stops[-1] = True
    return stops.int().argmax(dim=0) + 2

"""Phase I: every prefix of a module's learners imitates the layer that it replaces.

All modules learn at once from the dense net's own activations (arXiv 2312.10193, equation 3). The
gradient of a prefix reaches all of its learners; the released code cuts it. A prefix of no learner
counts where a gate may choose it.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from tokens.acm.learners import Learners
from tokens.acm.module import Acm
from training.fitting.loop import Job, learning_rate
from training.fitting.vit import CLIP_NORM, count_steps, draw_batches
from training.token_choice.setting import Setting
from training.token_choice.tracing import Traced, trace

PEAK_LEARNING_RATE = 1e-3
JUDGED_ROWS = 500


def make_job(setting: Setting, *, name: str, epochs: int) -> Job:
    """How the learners learn, for the loop; it is judged by the share of the layers' variance that
    prefixes explain on held-out pictures."""
    net, dense = setting.net, setting.dense.eval()
    modules = net.modules_in_order()
    learners = [one for one in net.modules() if isinstance(one, Learners)]

    def loss(pictures: Tensor, labels: Tensor) -> Tensor:
        traced = trace(dense, pictures, net.settings)
        errors = [one for acm, seen in zip(modules, traced, strict=True) for one in miss(acm, seen)]
        return torch.stack(errors).mean()

    @torch.no_grad()
    def judge() -> float:
        pictures = torch.from_numpy(setting.data.held_out.pictures[:JUDGED_ROWS].copy())
        traced = trace(dense, pictures, net.settings)
        kept = [
            1 - error / wanted.var()
            for acm, seen in zip(modules, traced, strict=True)
            for error, wanted in zip(miss(acm, seen), seen.outputs, strict=True)
        ]
        return float(torch.stack(kept).mean())

    return Job(
        name=name,
        net=net,
        recipe=f"{setting.origin} distil epochs={epochs} rate={PEAK_LEARNING_RATE}",
        seed=setting.seed,
        epochs=epochs,
        optimizer=torch.optim.AdamW(
            [parameter for one in learners for parameter in one.parameters()],
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


def miss(acm: Acm, traced: Traced) -> Iterator[Tensor]:
    """The mean squared error of a module's prefixes, for each layer that it replaces."""
    x_RD = traced.inputs_BTD.flatten(0, 1)
    for layer, wanted_BTE in zip(acm.replaced, traced.outputs, strict=True):
        wanted_RE = wanted_BTE.flatten(0, 1)
        prefixes = islice(layer.prefixes(x_RD), acm.gate.smallest, None)
        errors = [nn.functional.mse_loss(given_RE, wanted_RE) for given_RE in prefixes]
        yield torch.stack(errors).mean()

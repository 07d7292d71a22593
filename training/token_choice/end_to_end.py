"""Phase III: the whole net learns its task and its budgets.

The loss is the task's, with 0.1 of the budget's, 0.05 of the entropy's and 0.05 of the diversity's
(arXiv 2312.10193, equation 12). A net for every budget draws budgets in training, four a batch, one
from each quarter of the range; a net for one budget trains with that alone, as in the paper.

A net for every budget needs a heavier budget loss. At a budget of 0, budget and entropy together,
w k/4 - 0.05 H / log 5 with four learners, are least where choice k has a probability in proportion
to 5^(-5 w k): at the paper's w of 0.1, 18 % of the learners still run, at 0.5 only 0.5 %.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tokens.acm.gate import Gate
from tokens.acm.losses import (
    BUDGET_WEIGHT,
    DIVERSITY_WEIGHT,
    ENTROPY_WEIGHT,
    budget_loss,
    cost_fractions,
    diversity_loss,
    entropy_loss,
)
from tokens.acm.network import AcmVit
from training.data.sets import Split
from training.fitting.loop import Job, learning_rate
from training.fitting.route_teacher import RouteTeacher
from training.fitting.vit import CLIP_NORM, count_steps, draw_batches, task_loss
from training.token_choice.setting import Setting

PEAK_LEARNING_RATE = 5e-4
GATES_RATE = 4.0  # times the others': they begin anew
WARM_UP_EPOCHS = 0.5
BETAS_A_BATCH = 4
JUDGED_BETA = 0.5
BATCH_ROWS = 250


@dataclass(frozen=True, slots=True)
class LossWeights:
    budget: float = BUDGET_WEIGHT
    entropy: float = ENTROPY_WEIGHT
    diversity: float = DIVERSITY_WEIGHT


PAPERS_WEIGHTS = LossWeights()
EVERY_BUDGETS_WEIGHTS = LossWeights(budget=0.5)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a net reaches at one budget."""

    beta: float
    accuracy: float
    macs: float  # mean of a picture
    learners: tuple[float, ...]  # mean choice of each module


def make_job(
    setting: Setting,
    *,
    name: str,
    epochs: int,
    beta: float | None,
    teacher: RouteTeacher | None,
    weights: LossWeights,
) -> Job:
    """How the net learns, for the loop. `beta`: its only budget; None for every budget."""
    net = setting.net
    modules = net.modules_in_order()
    macs = [acm.learner_macs for acm in modules]
    learners = net.settings.learners

    def loss(pictures: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        beta_B = draw_budgets(len(pictures)) if beta is None else torch.full((len(labels),), beta)
        logits, choices = net(pictures, beta_B)
        return (
            task_loss(logits, labels, taught)
            + weights.budget * budget_loss(cost_fractions(choices, macs, learners), beta_B)
            + weights.entropy * entropy_loss(choices)
            + weights.diversity * diversity_loss(choices, learners, beta_B)
        )

    judged = JUDGED_BETA if beta is None else beta
    budget = "0 to 1" if beta is None else beta
    return Job(
        name=name,
        net=net,
        recipe=(
            f"{setting.origin} end-to-end epochs={epochs} rate={PEAK_LEARNING_RATE} beta={budget} "
            f"{weights} teacher={teacher.name if teacher else 'none'}"
        ),
        seed=setting.seed,
        epochs=epochs,
        optimizer=torch.optim.AdamW(
            _groups(net), lr=PEAK_LEARNING_RATE, weight_decay=0.0, fused=True
        ),
        learning_rate=partial(
            learning_rate, epochs=epochs, peak=PEAK_LEARNING_RATE, warm_up_epochs=WARM_UP_EPOCHS
        ),
        steps=count_steps(setting.data),
        batches=partial(draw_batches, setting.data, teacher),
        loss=loss,
        judge=lambda: judge(net, setting.data.held_out, judged).accuracy,
        clip_norm=CLIP_NORM,
    )


def draw_budgets(rows: int) -> Tensor:
    """Each row's budget [B]: one value for each quarter of the batch."""
    quarters = (torch.arange(BETAS_A_BATCH) + torch.rand(BETAS_A_BATCH)) / BETAS_A_BATCH
    return quarters[torch.arange(rows) * BETAS_A_BATCH // rows]


@torch.no_grad()
def judge(net: AcmVit, split: Split, beta: float) -> Judged:
    """The net's accuracy and cost on these pictures, all at one budget."""
    net.eval()
    cost = net.cost()
    right, macs = 0, 0
    learners = np.zeros(len(cost.modules))
    for start in range(0, len(split.labels), BATCH_ROWS):
        pictures = torch.from_numpy(split.pictures[start : start + BATCH_ROWS].copy())  # writable
        logits, choices = net(pictures, torch.full((len(pictures),), beta))
        right += int((logits.argmax(1).numpy() == split.labels[start : start + BATCH_ROWS]).sum())
        chosen = [choice.learners_BT.numpy() for choice in choices]
        macs += int(cost.count(chosen).sum())
        learners += [one.sum() / one.shape[1] for one in chosen]
    rows = len(split.labels)
    return Judged(beta, right / rows, macs / rows, tuple((learners / rows).tolist()))


def _groups(net: nn.Module) -> list[dict[str, object]]:
    gates = [one for one in net.modules() if isinstance(one, Gate)]
    of_gates = [parameter for gate in gates for parameter in gate.parameters()]
    known = {id(parameter) for parameter in of_gates}
    others = [parameter for parameter in net.parameters() if id(parameter) not in known]
    return [{"params": others}, {"params": of_gates, "rate_factor": GATES_RATE}]

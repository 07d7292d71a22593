"""How a small vision-language model learns, for the training loop.

The loss is the cross-entropy of the answers' words. A training with PyramidDrop drops tokens in
every step as a prefill does; gradients flow through the tokens that stay, none through the scores.
The text-only twin gets the same questions without pictures.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tokens.vision_language.model import Dropping, Prompts, VisionLanguageModel, VlmSpec
from tokens.vision_language.words import IMAGE
from training.data.grids.examples import VOCABULARY, Examples, draw_examples
from training.data.grids.scenes import Sources
from training.fitting.loop import Job, learning_rate
from training.vision_language.curriculum import Curriculum, Stage
from training.vision_language.judging import accuracy_by_family, judge

PEAK_LEARNING_RATE = 1.5e-3
FURTHER_LEARNING_RATE = 1e-3  # of a model that is trained already
WARM_UP_EPOCHS = 2.0
WEIGHT_DECAY = 0.05
BETAS = (0.9, 0.98)
CLIP_NORM = 1.0
JUDGE_SEED = 7
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """One model and what its training depends on."""

    model: VisionLanguageModel
    train: Sources
    held_out: Sources
    curriculum: Curriculum
    dropping: Dropping = field(default_factory=Dropping)
    blind: bool = False  # the text-only twin
    seed: int = 1
    settings: tuple[Dropping, ...] = ()  # of which each step draws one, instead of `dropping`
    begins: str = ""  # which weights the model begins with, if not random ones

    @property
    def judged_by(self) -> Dropping:
        """How the model is judged after every epoch: the middle one of several settings."""
        return self.settings[len(self.settings) // 2] if self.settings else self.dropping

    @property
    def visual_tokens(self) -> int:
        return 0 if self.blind else self.model.spec.visual_tokens


def standard_spec() -> VlmSpec:
    """The architecture of `vlm-small`."""
    return VlmSpec(words=len(VOCABULARY), image_id=VOCABULARY.id_of(IMAGE))


def build_model(spec: VlmSpec, seed: int) -> VisionLanguageModel:
    torch.manual_seed(seed)
    model = VisionLanguageModel(spec)
    model.vision.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def make_job(setting: Setting, name: str, stage: Stage, say: Say) -> Job:
    """How the model learns in this stage of its curriculum. `say` gets each epoch's judgement."""
    model, curriculum = setting.model, setting.curriculum
    before = _epochs_before(curriculum, stage)
    peak = _peak(setting)
    asked = draw_to_judge(setting, stage.shares, curriculum.judged)

    def judge_aloud() -> float:
        verdicts = judge(model, asked, setting.judged_by)
        by_family = accuracy_by_family(verdicts)
        say(f"{name}: " + ", ".join(f"{key} {value:.0%}" for key, value in by_family.items()))
        return sum(one.right for one in verdicts) / len(verdicts)

    return Job(
        name=name,
        net=model,
        recipe=_describe(setting, stage),
        seed=setting.seed,
        epochs=stage.epochs,
        optimizer=torch.optim.AdamW(_groups(model), lr=peak, betas=BETAS, fused=True),
        learning_rate=lambda epoch: learning_rate(
            before + epoch, curriculum.epochs, peak=peak, warm_up_epochs=WARM_UP_EPOCHS
        ),
        steps=curriculum.steps,
        batches=partial(_draw_batches, setting, stage),
        loss=partial(_loss_of_step, setting),
        judge=judge_aloud,
        clip_norm=CLIP_NORM,
    )


def draw_to_judge(
    setting: Setting, shares: Mapping[str, float], pictures: int, *, batch: int = 32
) -> list[Examples]:
    """Held-out pictures with questions, always the same ones, seen in training or not.

    A question stands alone where tokens are dropped, since it would share its scores otherwise.
    """
    rng = np.random.default_rng(JUDGE_SEED)
    questions = 1 if setting.judged_by.schedule.drops else setting.curriculum.questions
    return [
        draw_examples(
            setting.held_out,
            shares,
            rng,
            pictures=min(batch, pictures - start),
            questions=questions,
            visual_tokens=setting.visual_tokens,
            unseen=True,
        )
        for start in range(0, pictures, batch)
    ]


def answer_loss(
    model: VisionLanguageModel,
    how: Dropping,
    id_BT: Tensor,
    valid_BT: Tensor,
    segment_BT: Tensor,
    query_BQ: Tensor,
    target_BT: Tensor,
    pictures: Tensor | None = None,
) -> Tensor:
    """The mean cross-entropy of the answers' words."""
    prompts = Prompts(id_BT, valid_BT, query_BQ, segment_BT, tuple(range(len(id_BT))))
    done = model.prefill(prompts, pictures, how)
    target_BT = target_BT.gather(1, done.kept_BT)
    answered_BT = (target_BT >= 0) & done.layout.valid_BT
    logits_AV = model.logits(done.hidden_BTD[answered_BT])
    return nn.functional.cross_entropy(logits_AV, target_BT[answered_BT])


def _draw_batches(
    setting: Setting, stage: Stage, rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    for _ in range(setting.curriculum.steps):
        one = draw_examples(
            setting.train,
            stage.shares,
            rng,
            pictures=setting.curriculum.pictures,
            questions=setting.curriculum.questions,
            visual_tokens=setting.visual_tokens,
        )
        tensors = (one.id_BT, one.valid_BT, one.segment_BT, one.query_BQ, one.target_BT)
        chosen = torch.tensor(rng.integers(len(setting.settings)) if setting.settings else 0)
        yield (chosen, *tensors) if one.pictures is None else (chosen, *tensors, one.pictures)


def _loss_of_step(setting: Setting, chosen: Tensor, *batch: Tensor) -> Tensor:
    settings = setting.settings or (setting.dropping,)
    return answer_loss(setting.model, settings[int(chosen)], *batch)


def _peak(setting: Setting) -> float:
    return FURTHER_LEARNING_RATE if setting.begins else PEAK_LEARNING_RATE


def _epochs_before(curriculum: Curriculum, stage: Stage) -> int:
    names = [one.name for one in curriculum.stages]
    return sum(one.epochs for one in curriculum.stages[: names.index(stage.name)])


def _groups(model: nn.Module) -> list[dict[str, object]]:
    """Matrices decay; norms, biases, positions and the words' embedding do not."""
    named = list(model.named_parameters())
    spared = {name for name, p in named if p.ndim < 2 or name in ("words.weight",)}
    spared |= {name for name, _ in named if name.endswith("positions")}
    return [
        {"params": [p for n, p in named if n not in spared], "weight_decay": WEIGHT_DECAY},
        {"params": [p for n, p in named if n in spared], "weight_decay": 0.0},
    ]


def _describe(setting: Setting, stage: Stage) -> str:
    """All that decides the weights, as one line."""
    described = (
        f"{setting.model.spec} {setting.curriculum} stage={stage.name} {setting.dropping} "
        f"blind={setting.blind} seed={setting.seed} rate={_peak(setting)} "
        f"decay={WEIGHT_DECAY} betas={BETAS} clip={CLIP_NORM} data={setting.train.identity}"
    )
    if setting.begins:
        described += f" begins={setting.begins} settings={setting.settings}"
    return described

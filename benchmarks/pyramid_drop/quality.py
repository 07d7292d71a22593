"""What the model answers with fewer visual tokens, on questions about test pictures.

All models and settings get the same questions, so their differences are paired. The model that was
trained without drops is the fair ground for comparing scores: the other one was trained with those
of PyramidDrop. The text-only twin gets the questions without pictures; the commonest answer to a
question is what a perfect twin gives.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.pyramid_drop.names import (
    BLIND,
    COMMONEST,
    FAMILIES,
    FRAGILE,
    SHARES,
    asked_as,
    setting,
)
from harness.results import Sample
from tokens.vision_language.asking import answer
from tokens.vision_language.model import Dropping, VisionLanguageModel
from training.data.grids.examples import VOCABULARY
from training.data.grids.scenes import Sources
from training.vision_language.operating_points import (
    BATCH,
    MAX_WORDS,
    Asked,
    Point,
    comparators,
    draw_questions,
    measure,
)

TWO_SIDED_95 = 1.959964
COUNTED, COUNT_SEED = 1_000, 29  # questions of each family whose answers are counted
Say = Callable[[str], None]
Hits = npt.NDArray[np.bool_]


def ask_all(
    model: VisionLanguageModel, choices: Sequence[Sequence[int]], asked: Asked, say: Say
) -> list[Point]:
    """What the model answers without drops, and under every setting."""
    settings: dict[str, Dropping] = {}
    for share in SHARES:
        found = comparators(model.spec, choices, share * model.spec.visual_tokens)
        settings |= {setting(share, name): how for name, how in found.items()}
    say(f"asking {len(asked.questions)} questions under {1 + len(settings)} settings")
    return measure(model, asked, settings)


def compare_points(
    name: str, points: Sequence[Point], untouched: Point, asked: Asked
) -> Iterator[Sample]:
    """Right answers of a model by family, and the distance to the untouched model: the one that
    was trained without drops, without drops.
    """
    families = np.array([one.family for one in asked.questions])
    groups = {family: families == family for family in FAMILIES}
    groups["all"] = families != FRAGILE
    full = points[0]
    for point in points:
        case = asked_as(name, point.name)
        yield from _list_right(case, point.right_Q, families)
        yield Sample(case, 0, "visual_tokens", point.average_tokens)
        yield Sample(case, 0, "mmacs", point.macs / 1e6)
        yield Sample(case, 0, "agreement", point.agreement)
        if point is untouched:
            continue
        for group, chosen in groups.items():
            below, margin = compare(point.right_Q[chosen], untouched.right_Q[chosen])
            yield Sample(case, 0, f"below_{group}", below)
            yield Sample(case, 0, f"margin_{group}", margin)
        below, _ = compare(point.right_Q[groups["all"]], full.right_Q[groups["all"]])
        yield Sample(case, 0, "below_itself", below)


def judge_blind(twin: VisionLanguageModel, asked: Asked, say: Say) -> Iterator[Sample]:
    """Right answers of the text-only twin."""
    say("asking the text-only twin")
    hits = []
    for start in range(0, len(asked.questions), BATCH):
        part = asked.questions[start : start + BATCH]
        found = answer(twin, VOCABULARY, [one.text for one in part], None, None, MAX_WORDS)
        hits += [text == one.answer for text, one in zip(found, part, strict=True)]
    families = np.array([one.family for one in asked.questions])
    yield from _list_right(BLIND, np.array(hits), families)


def judge_commonest(sources: Sources, asked: Asked, say: Say) -> Iterator[Sample]:
    """Right answers if each question gets its commonest answer in training: no model can be better
    without a picture.
    """
    say("counting the commonest answers")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    drawn = draw_questions(sources, FAMILIES, COUNTED, COUNT_SEED).questions
    for one in drawn:
        counts[one.text][one.answer] += 1
        counts[one.family][one.answer] += 1  # for a text that was not drawn
    hits = []
    for one in asked.questions:
        ((answer, _),) = (counts.get(one.text) or counts[one.family]).most_common(1)
        hits.append(answer == one.answer)
    families = np.array([one.family for one in asked.questions])
    yield from _list_right(COMMONEST, np.array(hits), families)


def _list_right(case: str, hits: Hits, families: npt.NDArray[np.str_]) -> Iterator[Sample]:
    for family in FAMILIES:
        yield Sample(case, 0, family, 100 * float(hits[families == family].mean()))


def compare(hits: Hits, others: Hits) -> tuple[float, float]:
    """How many points these are below the others, and half of the 95 % interval, paired."""
    differences = 100.0 * (others.astype(float) - hits)
    margin = TWO_SIDED_95 * float(differences.std(ddof=1)) / len(hits) ** 0.5
    return float(differences.mean()), margin

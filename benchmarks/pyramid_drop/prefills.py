"""Times of a prefill with fewer visual tokens, beside the untouched model, in turns.

With one thread it is the thread's CPU time, so that other programs on the machine hardly count;
with two threads it is the time that passes. MACs are of what is timed, text included. The share of
scoring is timed inside prefills that drop.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.pyramid_drop.names import (
    BATCHES,
    RATIOS,
    THREADS,
    WIDE,
    WIDE_AVERAGES,
    prefill,
    wide,
)
from benchmarks.reporting.turns import Run, time_in_turns
from harness.results import Sample
from tokens.pyramid_drop.flops import decoder_macs
from tokens.pyramid_drop.schedule import Schedule, for_average, pyramid
from tokens.vision_language import model as model_module
from tokens.vision_language.model import Dropping, Prompts, VisionLanguageModel, VlmSpec
from tokens.vision_language.vision import vision_macs

TEXT = 24  # tokens beside the picture
WIDE_TEXT, WIDE_SIZE_PX = 64, 192  # 576 visual tokens
LEAST_ROWS = 8  # of the small model, of all repeats of a round: long enough for the clock
FULL = Dropping()
Say = Callable[[str], None]


def time_small(
    model: VisionLanguageModel, pictures: Tensor, runs: int, rounds: int, say: Say
) -> Iterator[Sample]:
    """The trained model: `pictures` uint8 [B, S, S, 3], as many as the largest batch has."""
    for threads in THREADS:
        torch.set_num_threads(threads)
        for rows in BATCHES:
            prompts = make_prompts(model.spec, rows, TEXT)
            features = see(model, pictures[:rows])
            for ratio in RATIOS:
                how = Dropping(pyramid(model.spec.layers, ratio=ratio))
                for seen in (True, False):
                    given = {"features": features} if seen else {"pictures": pictures[:rows]}
                    case = prefill(rows, ratio, threads, seen=seen)
                    say(f"timing {case}")
                    yield from time_pair(
                        case, model, prompts, given, how, runs, rounds, threads, LEAST_ROWS
                    )
    torch.set_num_threads(1)


def time_wide(
    runs: int, rounds: int, say: Say, shapes: Mapping[str, tuple[int, int]] = WIDE
) -> Iterator[Sample]:
    """Random layers of LLaVA's shape, one prompt of 576 visual tokens, the decoder alone."""
    for shape, (width, layers) in shapes.items():
        spec = widen(width, layers)
        torch.manual_seed(0)
        model = VisionLanguageModel(spec).eval()
        prompts = make_prompts(spec, 1, WIDE_TEXT)
        features = torch.randn(1, spec.visual_tokens, width)
        for threads in THREADS:
            torch.set_num_threads(threads)
            with torch.inference_mode():
                model.prefill(prompts, None, features=features)  # warms up
            for name, schedule in list_schedules(spec).items():
                case = wide(shape, name, threads)
                say(f"timing {case}")
                yield from time_pair(
                    case, model, prompts, {"features": features}, Dropping(schedule), runs, rounds,
                    threads, warm_up=False,
                )  # fmt: skip
    torch.set_num_threads(1)


def list_schedules(spec: VlmSpec) -> dict[str, Schedule]:
    """The paper's with both ratios, and averages that drop from the second layer on, as its author
    reaches them."""
    found = {f"λ {ratio:g}": pyramid(spec.layers, ratio=ratio) for ratio in RATIOS}
    at = (1, 2, spec.layers // 2) if spec.layers > 4 else (1, 2, 3)
    for average in WIDE_AVERAGES:
        if average / spec.visual_tokens > at[0] / spec.layers:
            schedule = for_average(at, spec.layers, spec.visual_tokens, average)
            found[f"{average} tokens"] = schedule
    return found


def widen(width: int, layers: int) -> VlmSpec:
    """The decoder of LLaVA-1.5 in proportion: heads of 64, a gated MLP of 2.6875 times the width,
    keys for every head."""
    heads = width // 64
    return VlmSpec(
        words=64, image_id=1, size_px=WIDE_SIZE_PX, width=width, layers=layers, heads=heads,
        key_heads=heads, hidden=int(2.6875 * width),
    )  # fmt: skip


def make_prompts(spec: VlmSpec, rows: int, text: int) -> Prompts:
    """A picture, then `text` words."""
    row = [0, *[spec.image_id] * spec.visual_tokens, *[2 + place % 8 for place in range(text - 1)]]
    id_BT = torch.tensor([row] * rows)
    return Prompts(id_BT, torch.ones_like(id_BT, dtype=torch.bool))


@torch.inference_mode()
def see(model: VisionLanguageModel, pictures: Tensor) -> Tensor:
    """The visual tokens [B, V, D] of pictures."""
    found: Tensor = model.vision(pictures)
    return found


def count_macs(spec: VlmSpec, text: int, schedule: Schedule, seen: bool) -> int:
    vision = 0 if seen else vision_macs(spec.size_px, spec.channels, spec.width)
    return vision + decoder_macs(spec.decoder, spec.visual_tokens, text, schedule)


@torch.inference_mode()
def time_pair(
    case: str,
    model: VisionLanguageModel,
    prompts: Prompts,
    given: Mapping[str, Tensor],
    how: Dropping,
    runs: int,
    rounds: int,
    threads: int,
    least_rows: int = 1,
    warm_up: bool = True,
) -> Iterator[Sample]:
    """Samples of one case, run by run: both times, the speed-up, its share of that in MACs, and
    the share of the time that scoring takes."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    rows = len(prompts.id_BT)
    arguments: dict[str, Any] = {"pictures": None, **given}

    def run(dropping: Dropping) -> Run:
        return lambda: model.prefill(prompts, how=dropping, **arguments)

    plain, fewer = run(FULL), run(how)
    expected = count_speedup(model.spec, prompts, how, "features" in given)
    yield Sample(case, 0, "macs_speedup", expected)
    for number in range(runs):
        full_s, dropped_s = time_in_turns(
            [plain, fewer], rows, rounds, clock, least_rows=least_rows, warm_up=warm_up
        )
        yield Sample(case, number, "full_us", 1e6 * full_s)
        yield Sample(case, number, "dropped_us", 1e6 * dropped_s)
        yield Sample(case, number, "speedup", full_s / dropped_s)
        yield Sample(case, number, "reached", full_s / dropped_s / expected)
        yield Sample(case, number, "scoring", 100 * time_scoring(fewer, rounds, clock))


def count_speedup(spec: VlmSpec, prompts: Prompts, how: Dropping, seen: bool) -> float:
    """By how much the MACs fall."""
    text = prompts.id_BT.shape[1] - spec.visual_tokens
    full, fewer = (count_macs(spec, text, one, seen) for one in (Schedule(), how.schedule))
    return full / fewer


def time_scoring(run: Run, rounds: int, clock: Callable[[], float]) -> float:
    """The share of the time that scores take."""
    shares = []
    for _ in range(rounds):
        with clocked_scores(clock) as spent:
            started = clock()
            run()
            shares.append(sum(spent) / (clock() - started))
    return statistics.median(shares)


@contextmanager
def clocked_scores(clock: Callable[[], float]) -> Iterator[list[float]]:
    """Fill the list with the seconds of each call that scores tokens."""
    spent: list[float] = []
    module: Any = model_module
    original = module.score_tokens

    def clocked(*arguments: Any) -> Tensor:
        started = clock()
        found: Tensor = original(*arguments)
        spent.append(clock() - started)
        return found

    module.score_tokens = clocked
    try:
        yield spent
    finally:
        module.score_tokens = original

"""Prefill of a decoder of 7 billion parameters' shape on an accelerator, with fewer visual tokens.

The untouched model runs in turns with it. Weights are random and in bfloat16. One prompt shows one
picture of 576 visual tokens, or five, which are ranked together as in LLaVA-NeXT. Times are those
that pass until the device is idle. Without an accelerator nothing is measured.
"""

import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.pyramid_drop.names import BIG_AVERAGES, BIG_PICTURES, RATIOS, big
from benchmarks.pyramid_drop.prefills import FULL, WIDE_SIZE_PX, WIDE_TEXT, Say, time_scoring
from benchmarks.reporting.turns import time_in_turns
from harness.results import Sample
from tokens.pyramid_drop.flops import VICUNA_7B, decoder_macs
from tokens.pyramid_drop.schedule import Schedule, for_average, pyramid
from tokens.vision_language.model import Dropping, Prompts, VisionLanguageModel, VlmSpec

HEADS = 32
AT = (2, 8, 16)  # layers before which averages drop
BIG = VlmSpec(
    words=64, image_id=1, size_px=WIDE_SIZE_PX, width=VICUNA_7B.width, layers=VICUNA_7B.layers,
    heads=HEADS, key_heads=HEADS, hidden=VICUNA_7B.hidden,
)  # fmt: skip
Clock = Callable[[], float]


def time_accelerator(runs: int, rounds: int, say: Say) -> Iterator[Sample]:
    """All cases, where there is a CUDA device."""
    if not torch.cuda.is_available():
        say("no accelerator: a large decoder is left out")
        return

    def read_clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    place = torch.device("cuda")
    yield from time_big(BIG, AT, place, torch.bfloat16, read_clock, runs, rounds, say)


@torch.inference_mode()
def time_big(
    spec: VlmSpec,
    at: tuple[int, ...],
    place: torch.device,
    dtype: torch.dtype,
    clock: Clock,
    runs: int,
    rounds: int,
    say: Say,
) -> Iterator[Sample]:
    """Samples of a decoder of this shape: times, their ratio beside that of MACs, and that of the
    bytes of keys and values beside the computed one.
    """
    torch.manual_seed(0)
    with place:
        model = VisionLanguageModel(spec).to(dtype).eval()
        for pictures in BIG_PICTURES:
            prompts = _make_prompts(spec, pictures)
            features = torch.randn(pictures, spec.visual_tokens, spec.width, dtype=dtype)

            def run(how: Dropping) -> Callable[[], object]:
                return lambda: model.prefill(prompts, None, how, 0, features)  # noqa: B023

            full_bytes = _count_bytes(model, prompts, features, FULL)
            for name, schedule in _list_schedules(spec, at).items():
                case, how = big(pictures, name), Dropping(schedule)
                say(f"timing {case}")
                expected = _count_macs(spec, pictures, Schedule()) / _count_macs(
                    spec, pictures, schedule
                )
                yield Sample(case, 0, "macs_speedup", expected)
                kept = _count_bytes(model, prompts, features, how) / full_bytes
                yield Sample(case, 0, "keys_values", kept)
                error = abs(kept - _share(spec, pictures, schedule))
                yield Sample(case, 0, "keys_values_error", error)
                for number in range(runs):
                    full_s, dropped_s = time_in_turns(
                        [run(FULL), run(how)], 1, rounds, clock, least_rows=1
                    )
                    yield Sample(case, number, "full_us", 1e6 * full_s)
                    yield Sample(case, number, "dropped_us", 1e6 * dropped_s)
                    yield Sample(case, number, "speedup", full_s / dropped_s)
                    yield Sample(case, number, "reached", full_s / dropped_s / expected)
                    scoring = 100 * time_scoring(run(how), rounds, clock)
                    yield Sample(case, number, "scoring", scoring)


def _list_schedules(spec: VlmSpec, at: tuple[int, ...]) -> dict[str, Schedule]:
    """The averages are of the 576 tokens of one picture."""
    found = {f"λ {ratio:g}": pyramid(spec.layers, ratio=ratio) for ratio in RATIOS}
    for average in BIG_AVERAGES:
        tokens = spec.visual_tokens * average / 576
        found[f"{average} tokens"] = for_average(at, spec.layers, spec.visual_tokens, tokens)
    return found


def _make_prompts(spec: VlmSpec, pictures: int) -> Prompts:
    """The pictures, then words."""
    shown = [spec.image_id] * (pictures * spec.visual_tokens)
    id_BT = torch.tensor([[0, *shown, *[2 + place % 8 for place in range(WIDE_TEXT - 1)]]])
    return Prompts(id_BT, torch.ones_like(id_BT, dtype=torch.bool))


def _count_macs(spec: VlmSpec, pictures: int, schedule: Schedule) -> int:
    return decoder_macs(spec.decoder, pictures * spec.visual_tokens, WIDE_TEXT, schedule)


def _count_bytes(
    model: VisionLanguageModel, prompts: Prompts, features: torch.Tensor, how: Dropping
) -> int:
    cache = model.prefill(prompts, None, how, 0, features).cache
    assert cache is not None
    return cache.size_bytes


def _share(spec: VlmSpec, pictures: int, schedule: Schedule) -> float:
    """Of keys and values, as computed."""
    tokens = pictures * spec.visual_tokens
    lengths = [WIDE_TEXT + count for count in schedule.counts(tokens, spec.layers)]
    return sum(lengths) / (spec.layers * (tokens + WIDE_TEXT))

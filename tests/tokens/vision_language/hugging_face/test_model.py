"""Small random models of transformers: untouched without drops, the same alone as in batches."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tokens.pyramid_drop.schedule import Drop, Schedule, pyramid
from tokens.pyramid_drop.scoring import SCORERS, Scorer
from tokens.vision_language.hugging_face.model import Generation, HuggingFaceVlm, load
from tokens.vision_language.model import Dropping

pytest.importorskip("transformers", reason="needs pip install transformers==5.24.0")

from tests.fakes.tiny_transformers import (
    IMAGE,
    LAYERS,
    TEXT,
    Attention,
    Inputs,
    llava,
    llava_next,
    qwen,
)

TOLERANCE = 2e-5  # of a logit, whose size is about 1, for a row in another batch


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def llava_pictures(chosen: list[int]) -> Inputs:
    return {"pixel_values": numbers(4, 3, 16, 16)[chosen]} if chosen else {}


def next_pictures(chosen: list[int]) -> Inputs:
    sizes = torch.tensor([[32, 16], [16, 32], [30, 14], [32, 16]])
    shown = {"pixel_values": numbers(4, 3, 3, 16, 16)[chosen], "image_sizes": sizes[chosen]}
    return shown if chosen else {}


def qwen_pictures(chosen: list[int]) -> Inputs:
    grids = torch.tensor([[1, 8, 8], [1, 4, 8], [1, 8, 4], [1, 4, 8]])
    if not chosen:
        return {}
    sizes = grids.prod(1).tolist()
    patches = torch.split(numbers(sum(sizes), 3 * 2 * 4 * 4), sizes)
    return {
        "pixel_values": torch.cat([patches[index] for index in chosen]),
        "image_grid_thw": grids[chosen],
    }


MODELS: dict[str, tuple[Callable[[Attention], Any], Callable[[list[int]], Inputs], list[int]]] = {
    "llava": (llava, llava_pictures, [16, 16, 16, 16]),
    "llava_next": (llava_next, next_pictures, []),
    "qwen2_5_vl": (qwen, qwen_pictures, [16, 8, 8, 8]),
}


@pytest.fixture(scope="module", params=[(m, a) for m in MODELS for a in ("sdpa", "eager")], ids=str)
def case(request: pytest.FixtureRequest) -> "Case":
    return Case(*request.param)


class Case:
    """One architecture, and prompts about up to four pictures for it."""

    def __init__(self, name: str, attention: Attention) -> None:
        make, self.shown, sizes = MODELS[name]
        self.model = make(attention)
        self.vlm = HuggingFaceVlm(self.model)
        self.positions = "kept" if name == "qwen2_5_vl" else "compacted"
        if not sizes:
            features = self.model.get_image_features(**self.shown([0, 1, 2, 3]))
            sizes = [len(one) for one in features.pooler_output]
        self.sizes = sizes

    def row(self, pictures: list[int], more: int = 0) -> list[int]:
        row = [1]
        for index in pictures:
            row += [61, *[IMAGE] * self.sizes[index], 62]
        return row + TEXT + [7] * more

    def batch(self, rows: list[list[int]], side: str = "right", more: int = 0) -> Inputs:
        """Rows of pictures' numbers."""
        made = [self.row(pictures, more) for pictures in rows]
        longest = max(len(row) for row in made)

        def pad(values: list[int]) -> list[int]:
            empty = [0] * (longest - len(values))
            return values + empty if side == "right" else empty + values

        mask = torch.tensor([pad([1] * len(row)) for row in made])
        ids = torch.tensor([pad(row) for row in made])
        shown = self.shown([index for pictures in rows for index in pictures])
        return {"input_ids": ids, "attention_mask": mask, **shown}

    def dropping(self, scorer: Scorer = "last", ratio: float = 0.5, **more: Any) -> Dropping:
        return Dropping(pyramid(LAYERS, ratio=ratio), scorer, positions=self.positions, **more)  # type: ignore[arg-type]


def last(done: Generation, row: int) -> Tensor:
    return done.logits_BV[row]


@torch.no_grad()
def untouched(case: Case, inputs: Inputs) -> Tensor:
    """The normalised tokens after the last layer, from transformers itself."""
    visual = {"mm_token_type_ids": (inputs["input_ids"] == IMAGE).int()}
    more = visual if case.model.config.model_type == "qwen2_5_vl" else {}
    hidden: Tensor = case.model.model(**inputs, **more).last_hidden_state
    return hidden


@pytest.mark.parametrize("rows", [[[0]], [[0], [1]], [[0], [], [1, 2]]])
def test_a_ratio_of_one_equals_the_untouched_model_bit_for_bit(
    case: Case, rows: list[list[int]]
) -> None:
    inputs = case.batch(rows)
    done = case.vlm.prefill(inputs, case.dropping(ratio=1.0))
    valid = inputs["attention_mask"].bool()
    assert torch.equal(done.hidden_BTD[valid], untouched(case, inputs)[valid])


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_alone_equals_the_row_in_a_padded_batch(
    case: Case, scorer: Scorer, side: str
) -> None:
    rows = [[0], [], [1, 2], [3]]
    how = case.dropping(scorer)
    together = case.vlm.prefill(case.batch(rows, side), how, seeds=[1, 2, 3, 4])
    for index, row in enumerate(rows):
        alone = case.vlm.prefill(case.batch([row]), how, seeds=[index + 1])
        torch.testing.assert_close(
            last(together, index), last(alone, 0), atol=TOLERANCE, rtol=TOLERANCE
        )


@pytest.mark.parametrize("scorer", SCORERS)
def test_each_layer_reads_and_caches_what_the_schedule_says(case: Case, scorer: Scorer) -> None:
    size = case.sizes[0]
    done = case.vlm.prefill(case.batch([[0]]), case.dropping(scorer), seeds=[1])
    expected = [size, size // 2, size // 4, size // 8]
    assert [int(count) for count in done.counts] == expected
    text = len(case.row([0])) - size
    assert [layer.keys.shape[2] for layer in done.cache.layers] == [n + text for n in expected]


def test_pictures_are_ranked_together_or_each(case: Case) -> None:
    once = Schedule((Drop(2, 0.5),))
    kept = {}
    for ranking in ("joint", "each"):
        how = Dropping(once, ranking=ranking, positions=case.positions)  # type: ignore[arg-type]
        kept[ranking] = case.vlm.prefill(case.batch([[1, 2]]), how).kept_BT[0]
    first = (kept["each"] < 2 + case.sizes[1]) & (kept["each"] >= 2)
    assert int(first.sum()) == case.sizes[1] // 2
    assert len(kept["joint"]) in (len(kept["each"]), len(kept["each"]) + 1)  # rounded down


def test_the_papers_score_is_the_next_layers_attention(case: Case) -> None:
    """Against the attention that transformers reports in eager mode, without a drop."""
    if case.model.model.language_model.config._attn_implementation != "eager":
        pytest.skip("only eager attention reports its weights")
    inputs = case.batch([[0]])
    visual = {"mm_token_type_ids": (inputs["input_ids"] == IMAGE).int()}
    more = visual if case.model.config.model_type == "qwen2_5_vl" else {}
    with torch.no_grad():
        reported = case.model(**inputs, **more, output_attentions=True).attentions[2]
    size = case.sizes[0]
    expected = reported[0, :, -1, 2 : 2 + size].mean(dim=0)
    best = (expected.argsort(descending=True)[: size // 2] + 2).sort().values
    once = Dropping(Schedule((Drop(2, 0.5),)), positions=case.positions)  # type: ignore[arg-type]
    kept = case.vlm.prefill(inputs, once).kept_BT[0]
    assert kept[(kept >= 2) & (kept < 2 + size)].tolist() == best.tolist()


@pytest.mark.parametrize(("ratio", "kept"), [(1.0, False), (0.5, False), (0.5, True)])
def test_decoding_continues_as_a_longer_prompt_would(case: Case, ratio: float, kept: bool) -> None:
    """The word 7, fed twice, against prompts that end with it; a drop of one picture's tokens."""
    rows = [[0], [], [1, 2]]
    how = case.dropping("uniform", ratio)  # whose choice does not depend on the text
    how = replace(how, positions="kept") if kept else how
    done = case.vlm.prefill(case.batch(rows), how)
    for _ in range(2):
        logits = case.vlm.decode(torch.tensor([7] * len(rows)), done)
    longer = case.vlm.prefill(case.batch(rows, more=2), how)
    for row in range(len(rows)):
        torch.testing.assert_close(logits[row], last(longer, row), atol=1e-4, rtol=1e-4)


def test_nothing_of_a_request_stays_on_the_model(case: Case) -> None:
    inputs = case.batch([[0]])
    before = case.vlm.prefill(inputs, case.dropping())
    held = {name for name, _ in case.model.named_modules()}, set(vars(case.model.model))
    case.vlm.prefill(case.batch([[1, 2], []]), case.dropping("random"), seeds=[8, 9])
    assert held == ({name for name, _ in case.model.named_modules()}, set(vars(case.model.model)))
    assert torch.equal(before.logits_BV, case.vlm.prefill(inputs, case.dropping()).logits_BV)
    if case.model.config.model_type == "qwen2_5_vl":
        assert case.model.model.rope_deltas is None or ran_untouched(case)


def ran_untouched(case: Case) -> bool:
    """transformers' own forward stores these; the adapter must not change them."""
    stored = case.model.model.rope_deltas.clone()
    case.vlm.prefill(case.batch([[1, 2]]), case.dropping())
    return bool(torch.equal(stored, case.model.model.rope_deltas))


def test_pictures_and_their_places_must_agree(case: Case) -> None:
    inputs = case.batch([[0]])
    without = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match="but there are no pictures"):
        case.vlm.prefill(without)
    with pytest.raises(ValueError, match="visual tokens, their pictures make"):
        case.vlm.prefill({**inputs, **case.shown([0, 1])})


def test_a_schedule_beyond_the_model_is_refused(case: Case) -> None:
    how = Dropping(Schedule((Drop(9, 0.5),)), positions=case.positions)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer 9"):
        case.vlm.prefill(case.batch([[0]]), how)


def test_positions_of_three_axes_cannot_be_compacted() -> None:
    vlm = HuggingFaceVlm(qwen("sdpa"))
    with pytest.raises(ValueError, match="can only be kept; compacted was given"):
        vlm.prefill({}, Dropping(pyramid(LAYERS, ratio=0.5)))


def test_other_models_are_refused() -> None:
    model = llava("sdpa")
    model.config.model_type = "other"
    with pytest.raises(ValueError, match="a model of type other"):
        HuggingFaceVlm(model)


def test_weights_come_from_a_directory(tmp_path: Any) -> None:
    model = llava("sdpa")
    model.save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    case = Case("llava", "sdpa")
    inputs = case.batch([[0]])
    expected = case.vlm.prefill(inputs, case.dropping()).logits_BV
    assert torch.equal(loaded.prefill(inputs, case.dropping()).logits_BV, expected)

"""The small model: untouched without a schedule, and the same alone as in any batch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tokens.pyramid_drop.schedule import Drop, Schedule, pyramid
from tokens.pyramid_drop.scoring import SCORERS, Scorer
from tokens.vision_language.layers import DecoderLayer
from tokens.vision_language.model import (
    Dropping,
    Prefilled,
    Prompts,
    VisionLanguageModel,
    VlmSpec,
    check_spec,
)

TOLERANCE = 1e-5  # of a hidden state, whose size is about 1, for a row in another batch
TEXT = [5, 6, 7, 8, 9, 3]
IMAGE = [1] * 16
PYRAMID = pyramid(4, ratio=0.5)


def batch(*rows: list[int], segments: list[int] | None = None) -> Prompts:
    length = max(len(row) for row in rows)
    sizes = torch.tensor([[len(row)] for row in rows])
    return Prompts(
        id_BT=torch.tensor([row + [2] * (length - len(row)) for row in rows]),
        valid_BT=torch.arange(length) < sizes,
        query_BQ=sizes - 1,
        segment_BT=None if segments is None else torch.tensor([segments]),
        seeds=tuple(100 + len(row) for row in rows),
    )


def pictures(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)


def last(done: Prefilled, row: int) -> Tensor:
    """The hidden state of a row's last token."""
    return done.hidden_BTD[row, int(done.layout.lengths_B[row]) - 1]


@torch.no_grad()
def run(
    model: VisionLanguageModel, prompts: Prompts, shown: Tensor | None, how: Dropping
) -> Prefilled:
    return model.prefill(prompts, shown, how, room=0)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_ratio_of_one_equals_the_untouched_model_bit_for_bit(
    model: VisionLanguageModel, scorer: Scorer
) -> None:
    prompts, shown = batch([0, *IMAGE, *TEXT], [0, *IMAGE, 4, *TEXT]), pictures(2)
    untouched = run(model, prompts, shown, Dropping())
    one = run(model, prompts, shown, Dropping(pyramid(4, ratio=1.0), scorer))
    assert torch.equal(untouched.hidden_BTD, one.hidden_BTD)


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("positions", ["compacted", "kept"])
@pytest.mark.parametrize("ranking", ["joint", "each"])
def test_a_row_alone_equals_the_row_in_a_padded_batch(
    model: VisionLanguageModel, scorer: Scorer, positions: str, ranking: str
) -> None:
    rows = [[0, *IMAGE, *TEXT], [0, *TEXT], [0, 4, *IMAGE, 4, 4, *IMAGE, *TEXT, 7]]
    shown = pictures(3)
    how = Dropping(PYRAMID, scorer, ranking, positions)  # type: ignore[arg-type]
    together = run(model, batch(*rows), shown, how)
    of_row = [shown[:1], None, shown[1:]]
    for index, row in enumerate(rows):
        alone = run(model, batch(row), of_row[index], how)
        size = int(alone.layout.lengths_B[0])
        assert together.kept_BT[index, :size].tolist() == alone.kept_BT[0].tolist()
        torch.testing.assert_close(
            last(together, index), last(alone, 0), atol=TOLERANCE, rtol=TOLERANCE
        )


def test_each_layer_reads_what_the_schedule_says(model: VisionLanguageModel) -> None:
    prompts = batch([0, *IMAGE, *TEXT], [0, *TEXT], [0, *IMAGE, *IMAGE, 3])
    done = run(model, prompts, pictures(3), Dropping(PYRAMID))
    assert [count.tolist() for count in done.counts] == [
        [16, 0, 32],
        [8, 0, 16],
        [4, 0, 8],
        [2, 0, 4],
    ]
    assert done.cache is not None
    used = [one.length_B.tolist() for one in done.cache.layers]
    assert used == [[23, 7, 34], [15, 7, 18], [11, 7, 10], [9, 7, 6]]


def test_text_stays_and_order_is_kept(model: VisionLanguageModel) -> None:
    done = run(model, batch([0, *IMAGE, *TEXT]), pictures(1), Dropping(PYRAMID))
    kept = done.kept_BT[0].tolist()
    assert kept == sorted(kept)
    assert {0, *range(17, 23)} <= set(kept)


def test_a_dropped_token_is_read_no_more(model: VisionLanguageModel) -> None:
    """Dropping everything before the first layer that could mix it equals hiding it there."""
    everything = Dropping(Schedule((Drop(1, 0.0),)))
    done = run(model, batch([0, *IMAGE, *TEXT]), pictures(1), everything)
    assert done.counts[0].tolist() == [16]
    assert done.counts[1].tolist() == [0]
    assert done.hidden_BTD.shape[1] == 7


def test_scorers_choose_different_tokens(model: VisionLanguageModel) -> None:
    prompts, shown = batch([0, *IMAGE, *TEXT]), pictures(1)
    once = Schedule((Drop(2, 0.5),))
    found = {
        scorer: tuple(run(model, prompts, shown, Dropping(once, scorer)).kept_BT[0].tolist())
        for scorer in SCORERS
    }
    assert len(set(found.values())) == len(SCORERS)


def test_the_papers_score_is_the_next_layers_attention(model: VisionLanguageModel) -> None:
    """Scores from a plain computation, with the queries and keys of the layer after the drop."""
    prompts, shown = batch([0, *IMAGE, *TEXT]), pictures(1)
    done = run(model, prompts, shown, Dropping(Schedule((Drop(2, 0.5),))))
    expected = slow_scores(model, prompts, shown, layer=2)[1:17]
    best = expected.argsort(descending=True)[:8] + 1
    assert sorted(best.tolist()) == [place for place in done.kept_BT[0].tolist() if 1 <= place < 17]


@torch.no_grad()
def slow_scores(model: VisionLanguageModel, prompts: Prompts, shown: Tensor, layer: int) -> Tensor:
    """The last token's attention in a layer, head by head, from the tokens that enter it."""
    seen: list[Tensor] = []
    chosen = model.layers[layer]
    assert isinstance(chosen, DecoderLayer)
    hook = chosen.attention_norm.register_forward_hook(
        lambda module, given, normed: seen.append(normed)
    )
    model.prefill(prompts, shown)
    hook.remove()
    attention = chosen.attention
    normed = seen[0][0]
    total = torch.zeros(len(normed))
    for head in range(4):
        q = turn_slowly(attention.q(normed)[:, head * 4 : head * 4 + 4])
        group = head // 2
        k = turn_slowly(attention.k(normed)[:, group * 4 : group * 4 + 4])
        total += (q[-1] @ k.T / 2.0).softmax(dim=0) / 4
    return total


def turn_slowly(x_Td: Tensor) -> Tensor:
    turned = x_Td.clone()
    for place, row in enumerate(x_Td):
        for index in range(2):
            angle = torch.tensor(place * 10_000.0 ** (-index / 2))
            a, b = row[index], row[index + 2]
            turned[place, index] = a * angle.cos() - b * angle.sin()
            turned[place, index + 2] = b * angle.cos() + a * angle.sin()
    return turned


def test_several_questions_of_a_picture_stand_as_if_alone(model: VisionLanguageModel) -> None:
    first, second = [5, 6, 3], [7, 8, 9, 3]
    segments = [0] * 17 + [1] * 3 + [2] * 4
    packed = batch([0, *IMAGE, *first, *second], segments=segments)
    shown = pictures(1)
    done = run(model, packed, shown, Dropping())
    for question, place in ((first, 19), (second, 23)):
        alone = run(model, batch([0, *IMAGE, *question]), shown, Dropping())
        torch.testing.assert_close(
            done.hidden_BTD[0, place], last(alone, 0), atol=TOLERANCE, rtol=TOLERANCE
        )


def test_questions_that_share_a_picture_share_their_scores(model: VisionLanguageModel) -> None:
    segments = [0] * 17 + [1] * 3 + [2] * 4
    packed = batch([0, *IMAGE, 5, 6, 3, 7, 8, 9, 3], segments=segments)
    packed = replace(packed, query_BQ=torch.tensor([[19, 23]]))
    done = run(model, packed, pictures(1), Dropping(PYRAMID))
    assert done.counts[-1].tolist() == [2]
    assert done.layout.position_BT[0, -4:].tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "how", [Dropping(), Dropping(PYRAMID), Dropping(PYRAMID, positions="kept")]
)
def test_decoding_continues_as_a_longer_prompt_would(
    model: VisionLanguageModel, how: Dropping
) -> None:
    """With the same visual tokens, feeding words one by one equals giving them at once."""
    rows, words, shown = [[0, *IMAGE, *TEXT], [0, *TEXT]], [11, 12], pictures(1)
    done = model.prefill(batch(*rows), shown, how, room=2)
    assert done.cache is not None
    with torch.no_grad():
        for word in words:
            logits = model.decode(torch.tensor([word, word]), done.cache, how.positions)
    longer = replace(
        batch(*[[*row, *words] for row in rows]),
        query_BQ=torch.tensor([[len(row) - 1] for row in rows]),  # the same token scores
    )
    at_once = run(model, longer, shown, how)
    for row in range(2):
        expected = model.logits(last(at_once, row))
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=1e-4)


def test_a_full_cache_refuses_another_token(model: VisionLanguageModel) -> None:
    done = run(model, batch([0, *TEXT]), None, Dropping())
    assert done.cache is not None
    with pytest.raises(ValueError, match="no room for another token"):
        model.decode(torch.tensor([4]), done.cache)


def test_the_caches_memory_falls_with_the_tokens(model: VisionLanguageModel) -> None:
    prompts, shown = batch([0, *IMAGE, *TEXT]), pictures(1)
    whole = run(model, prompts, shown, Dropping()).cache
    dropped = run(model, prompts, shown, Dropping(PYRAMID)).cache
    assert whole is not None
    assert dropped is not None
    each = 2 * 2 * 4 * 4  # keys and values of two heads of four float32
    assert whole.size_bytes == 4 * 23 * each
    assert dropped.size_bytes == (23 + 15 + 11 + 9) * each


def test_nothing_of_a_request_stays_on_the_model(model: VisionLanguageModel) -> None:
    prompts, shown = batch([0, *IMAGE, *TEXT]), pictures(1)
    before = run(model, prompts, shown, Dropping())
    run(model, batch([0, *IMAGE, *IMAGE, 3]), pictures(2, seed=9), Dropping(PYRAMID, "random"))
    assert torch.equal(before.hidden_BTD, run(model, prompts, shown, Dropping()).hidden_BTD)


def test_gradients_flow_through_the_tokens_that_stay(model: VisionLanguageModel) -> None:
    done = model.prefill(batch([0, *IMAGE, *TEXT]), pictures(1), Dropping(PYRAMID))
    done.hidden_BTD.square().mean().backward()  # type: ignore[no-untyped-call]
    assert model.vision.row_positions.grad is not None
    assert model.vision.row_positions.grad.abs().sum() > 0
    model.zero_grad()


def test_pictures_and_their_places_must_agree(model: VisionLanguageModel) -> None:
    with pytest.raises(ValueError, match="places for 16 visual tokens, their pictures make 32"):
        run(model, batch([0, *IMAGE, 3]), pictures(2), Dropping())
    with pytest.raises(ValueError, match="places for 16 visual tokens, their pictures make 0"):
        run(model, batch([0, *IMAGE, 3]), None, Dropping())


def test_a_schedule_beyond_the_model_is_refused(model: VisionLanguageModel) -> None:
    with pytest.raises(ValueError, match=r"layer 4 .* must increase, from 1 to 3"):
        run(model, batch([0, *TEXT]), None, Dropping(Schedule((Drop(4, 0.5),))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": 30}, "a multiple of 8"),
        ({"heads": 3}, "3 heads of even width"),
        ({"key_heads": 3}, "cannot share 3 key heads"),
        ({"image_id": 20}, "id 20"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, int], message: str) -> None:
    spec = VlmSpec(words=20, image_id=1, size_px=32, width=16, heads=4, key_heads=2)
    with pytest.raises(ValueError, match=message):
        check_spec(replace(spec, **change))  # type: ignore[arg-type]

"""Rows that decode together, each with its own buffers, get the logits of the padded batch."""

import pytest
import torch

from tests.fakes.tiny_vlm import SPEC, VOCABULARY
from tokens.pyramid_drop.dropping import Positions
from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.asking import make_prompts
from tokens.vision_language.model import Dropping, VisionLanguageModel
from tokens.vision_language.serving.row_cache import RowCache, count_bytes, split_rows
from tokens.vision_language.serving.small_backbone import SmallBackbone

ROOM = 5
QUESTIONS = ["a b", "c d e f", "g"]
TOLERANCE = 2e-5
CPU = torch.device("cpu")


@torch.no_grad()
def prefill(model: VisionLanguageModel, how: Dropping) -> tuple[list[RowCache], torch.Tensor]:
    """The rows' buffers, and the logits of a step of the padded batch for each further token."""
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=generator)
    prompts = make_prompts(VOCABULARY, QUESTIONS, [1, 1, 1], SPEC.visual_tokens)
    done = model.prefill(prompts, pictures, how, room=ROOM)
    assert done.cache is not None
    kept = [(one.k, one.v, one.length_B) for one in done.cache.layers]
    rows = split_rows(kept, done.cache.next_B, [ROOM, ROOM, ROOM - 1])
    steps = [model.decode(ids, done.cache, how.positions) for ids in IDS]
    return rows, torch.stack(steps)


IDS = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])


@pytest.mark.parametrize("positions", ["compacted", "kept"])
@torch.no_grad()
def test_rows_get_the_logits_of_the_padded_batch(
    model: VisionLanguageModel, positions: Positions
) -> None:
    how = Dropping(pyramid(4, ratio=0.5), positions=positions)
    rows, expected_SBV = prefill(model, how)
    for step, ids in enumerate(IDS):
        found = SmallBackbone(model, CPU).decode(ids, rows, positions)
        torch.testing.assert_close(found, expected_SBV[step], atol=TOLERANCE, rtol=TOLERANCE)


@torch.no_grad()
def test_rows_join_and_leave_between_tokens(model: VisionLanguageModel) -> None:
    rows, expected_SBV = prefill(model, Dropping())
    for step, places in enumerate([[0], [2, 0], [1, 0], [2], [2, 1], [1]]):
        steps = {place: rows[place].next_position for place in places}
        found = SmallBackbone(model, CPU).decode(
            torch.tensor([IDS[_count(rows[place], place), place] for place in places]),
            [rows[place] for place in places],
            "compacted",
        )
        for logits, place in zip(found, places, strict=True):
            at = _count(rows[place], place) - 1
            torch.testing.assert_close(
                logits, expected_SBV[at, place], atol=TOLERANCE, rtol=TOLERANCE
            )
        assert all(rows[place].next_position == before + 1 for place, before in steps.items()), step


def _count(row: RowCache, place: int) -> int:
    """The tokens that a row has decoded."""
    prompt = 1 + SPEC.visual_tokens + len(QUESTIONS[place].split()) + 1
    return row.next_position - prompt


@torch.no_grad()
def test_the_bytes_are_those_that_were_counted_before(model: VisionLanguageModel) -> None:
    how = Dropping(pyramid(4, ratio=0.5))
    rows, _ = prefill(model, how)
    counts = how.schedule.counts(SPEC.visual_tokens, SPEC.layers)
    for place, row in enumerate(rows):
        text = 2 + len(QUESTIONS[place].split())
        lengths = [text + count for count in counts]
        room = ROOM if place < 2 else ROOM - 1
        assert row.size_bytes == count_bytes(SPEC.decoder.key_width, lengths, room, 4)

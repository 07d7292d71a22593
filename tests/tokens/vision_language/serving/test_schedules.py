"""A request's schedule, its exit in metrics, and the schedule that fits a budget."""

from typing import Any

import pytest

from core.errors import InvalidInput
from tests.fakes.tiny_vlm import DROPS, LAYERS, SPEC, VISUAL_TOKENS
from tokens.pyramid_drop.flops import decoder_macs
from tokens.pyramid_drop.schedule import Schedule
from tokens.vision_language.serving.schedules import EXITS, TYPICAL_TEXT, Schedules

SCHEDULES = Schedules(SPEC.decoder, VISUAL_TOKENS, (DROPS,))


DEFAULTS = {"visual_tokens": float(VISUAL_TOKENS), "drop_layers": (), "drop_shares": ()}


def choose(**controls: Any) -> Schedule:
    return SCHEDULES.choose({**DEFAULTS, **controls})


def test_all_visual_tokens_are_no_drops() -> None:
    assert choose() == Schedule()
    assert EXITS[SCHEDULES.find_exit(Schedule(), 1)] == "visual_1.0"


@pytest.mark.parametrize("average", [4.5, 8.0, 12.0, 15.5])
def test_fewer_are_read_on_average_as_asked(average: float) -> None:
    schedule = choose(visual_tokens=average)
    shares = schedule.shares(LAYERS)
    assert sum(shares) / LAYERS * VISUAL_TOKENS == pytest.approx(average, abs=1e-3)
    exit = EXITS[SCHEDULES.find_exit(schedule, 1)]
    share = float(exit.removeprefix("visual_"))
    assert share - 0.1 <= average / VISUAL_TOKENS + 1e-6
    assert average / VISUAL_TOKENS <= share + 1e-6


def test_late_layers_drop_unless_too_little_would_stay() -> None:
    late = Schedules(SPEC.decoder, VISUAL_TOKENS, ((2, 3), (1, 2, 3)))
    chosen = {one: late.choose({**DEFAULTS, "visual_tokens": one}) for one in (12.0, 8.0, 5.0)}
    assert [one.drops[0].layer for one in chosen.values()] == [2, 1, 1]
    assert late.least == SCHEDULES.least


def test_a_prompt_without_pictures_has_an_exit_of_its_own() -> None:
    assert EXITS[SCHEDULES.find_exit(choose(visual_tokens=8.0), 0)] == "text"


def test_a_schedule_of_the_requests_own_is_taken_as_it_is() -> None:
    schedule = choose(visual_tokens=8.0, drop_layers=(1, 3), drop_shares=(0.5, 0.25))
    assert schedule.counts(VISUAL_TOKENS, LAYERS) == (16, 8, 8, 4)


@pytest.mark.parametrize(
    ("controls", "sentence"),
    [
        ({"visual_tokens": 1.0}, "visual_tokens: 1 visual tokens on average; 4 to 16 are possible"),
        ({"drop_layers": (4,), "drop_shares": (0.5,)}, "layer 4 is not possible"),
        ({"drop_layers": (0,), "drop_shares": (0.5,)}, "layer 0 is not possible"),
        ({"drop_layers": (1,)}, "given 0 shares for 1 layers"),
        ({"drop_layers": (1, 2), "drop_shares": (0.5, 0.6)}, "must not increase"),
    ],
)
def test_a_schedule_that_the_model_cannot_run_is_refused(
    controls: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        choose(**controls)


@pytest.mark.parametrize("share", [0.1, 0.6, 0.8, 0.9, 1.0])
def test_a_budget_gets_the_most_tokens_that_fit(share: float) -> None:
    def macs(average: float) -> int:
        schedule = choose(visual_tokens=average)
        return decoder_macs(SPEC.decoder, VISUAL_TOKENS, TYPICAL_TEXT, schedule)

    found = SCHEDULES.fit(share, float(VISUAL_TOKENS))
    assert SCHEDULES.least <= found <= VISUAL_TOKENS
    assert macs(found) <= share * macs(VISUAL_TOKENS) or found == SCHEDULES.least
    more = found + (VISUAL_TOKENS - SCHEDULES.least) / 20
    assert found == VISUAL_TOKENS or macs(more) > share * macs(VISUAL_TOKENS)

"""A token is chosen by its own logits and seed; a stop string is never shown, not even in part."""

import numpy as np
import pytest

from tokens.vision_language.serving.sampling import Sampling, choose, cut_at_stop, hold_back

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


def draw(how: Sampling, times: int = 4000) -> list[float]:
    """How often each token is drawn."""
    found = [choose(LOGITS, how._replace(seed=seed), 3)[0] for seed in range(times)]
    return [found.count(token) / times for token in range(len(LOGITS))]


def test_without_temperature_the_most_probable_token_is_taken() -> None:
    token, log_probability = choose(LOGITS, Sampling(0.0, 1.0, 7), 0)
    assert token == 0
    assert log_probability == pytest.approx(np.log(0.5), abs=1e-6)


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    assert draw(Sampling(1.0, 1.0, 0)) == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=0.03)


def test_a_low_temperature_prefers_the_probable() -> None:
    squares = np.array([0.25, 0.0625, 0.0225, 0.01])
    expected = (squares / squares.sum()).tolist()
    assert draw(Sampling(0.5, 1.0, 0)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("top_p", "kept"), [(0.0, 1), (0.5, 1), (0.6, 2), (0.8, 3), (1.0, 4)])
def test_only_the_most_probable_tokens_within_top_p_are_drawn(top_p: float, kept: int) -> None:
    shares = draw(Sampling(1.0, top_p, 0), 500)
    assert [share > 0 for share in shares] == [token < kept for token in range(4)]


def test_a_seed_and_a_step_decide_the_draw() -> None:
    how = Sampling(1.0, 1.0, -5)
    assert choose(LOGITS, how, 1) == choose(LOGITS.copy(), how, 1)
    assert len({choose(LOGITS, how, step)[0] for step in range(40)}) > 1
    assert len({choose(LOGITS, how._replace(seed=seed), 0)[0] for seed in range(40)}) > 1


def test_a_text_is_cut_before_the_first_stop_string() -> None:
    assert cut_at_stop("a b c d", ["d", "b c"]) == "a "
    assert cut_at_stop("a b c", ["x", "cc"]) is None


@pytest.mark.parametrize("stops", [["b c"], ["c d", "b c d"], ["a"], ["xyz"], []])
def test_a_text_that_grows_never_takes_back_what_was_shown(stops: list[str]) -> None:
    whole, shown = "a b c d a b", ""
    for end in range(1, len(whole) + 1):
        cut = cut_at_stop(whole[:end], stops)
        after = hold_back(whole[:end], stops) if cut is None else cut
        assert after.startswith(shown)
        shown = after
        if cut is not None:
            break
    assert not any(stop in shown for stop in stops)

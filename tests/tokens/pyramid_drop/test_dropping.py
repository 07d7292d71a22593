"""Ranking and dropping, on batches of different rows, against the slow, obvious computation."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tokens.pyramid_drop import dropping
from tokens.pyramid_drop.dropping import Layout, Ranking, make_layout, rank_and_drop


def lay_out(*rows: list[int]) -> Layout:
    """Rows of picture numbers, padded on the right."""
    length = max(len(row) for row in rows)
    picture = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    valid = torch.arange(length) < torch.tensor([[len(row)] for row in rows])
    return make_layout(picture, valid)


def kept_of(scores: Tensor, layout: Layout, share: float, ranking: Ranking) -> list[list[int]]:
    order, after = rank_and_drop(scores, layout, share, ranking, "compacted")
    return [row[valid].tolist() for row, valid in zip(order, after.valid_BT, strict=True)]


def test_the_best_stay_in_their_order() -> None:
    layout = lay_out([0, 1, 1, 1, 1, 0, 0])
    scores = torch.tensor([[9.0, 1.0, 4.0, 2.0, 3.0, 0.0, 0.0]])
    assert kept_of(scores, layout, 0.5, "joint") == [[0, 2, 4, 5, 6]]


def test_of_equal_scores_the_earlier_stays() -> None:
    layout = lay_out([1, 1, 1, 1, 0])
    assert kept_of(torch.ones(1, 5), layout, 0.5, "joint") == [[0, 1, 4]]


def test_pictures_are_ranked_together_or_each() -> None:
    layout = lay_out([1, 1, 2, 2, 0])
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]])
    assert kept_of(scores, layout, 0.5, "joint") == [[2, 3, 4]]
    assert kept_of(scores, layout, 0.5, "each") == [[1, 3, 4]]


def test_a_row_without_a_picture_stays_whole() -> None:
    layout = lay_out([0, 0, 0], [0, 1, 1, 1, 1, 0])
    assert kept_of(torch.zeros(2, 6), layout, 0.5, "joint") == [[0, 1, 2], [0, 1, 2, 5]]


def test_positions_are_compacted_or_kept() -> None:
    layout = lay_out([0, 1, 1, 0], [0, 1, 1])
    scores = torch.tensor([[0.0, 1.0, 2.0, 0.0], [0.0, 2.0, 1.0, 0.0]])
    _, compacted = rank_and_drop(scores, layout, 0.5, "joint", "compacted")
    _, kept = rank_and_drop(scores, layout, 0.5, "joint", "kept")
    assert compacted.position_BT.tolist() == [[0, 1, 2], [0, 1, 1]]
    assert kept.position_BT[0].tolist() == [0, 2, 3]
    assert kept.position_BT[1, :2].tolist() == [0, 1]


def test_shares_are_of_the_original_number_in_every_drop() -> None:
    layout = lay_out([1] * 7)
    _, once = rank_and_drop(torch.rand(1, 7), layout, 0.5, "joint", "compacted")
    _, twice = rank_and_drop(torch.rand(1, 3), once, 0.3, "joint", "compacted")
    assert once.lengths_B.tolist() == [3]
    assert twice.lengths_B.tolist() == [2]  # int(7 * 0.3), not int(3 * 0.3)


def test_a_share_of_nothing_leaves_the_text() -> None:
    layout = lay_out([0, 1, 1, 0])
    assert kept_of(torch.rand(1, 4), layout, 0.0, "joint") == [[0, 3]]


def test_segments_share_the_picture_and_count_positions_alone() -> None:
    picture = torch.tensor([[0, 1, 1, 0, 0, 0]])
    segment = torch.tensor([[0, 0, 0, 1, 1, 2]])
    layout = make_layout(picture, torch.ones(1, 6, dtype=torch.bool), segment)
    assert layout.position_BT.tolist() == [[0, 1, 2, 3, 4, 3]]
    reads = dropping.allowed(layout)[0]
    assert reads[5].tolist() == [True, True, True, False, False, True]
    assert reads[4].tolist() == [True, True, True, True, True, False]
    queries = torch.tensor([[4, 5]])
    assert torch.equal(dropping.allowed_for(layout, queries)[0], reads[[4, 5]])


def test_a_drop_that_drops_nothing_is_known() -> None:
    assert dropping.drops_nothing(lay_out([0, 1, 1]), 1.0, "joint")
    assert dropping.drops_nothing(lay_out([0, 0], [0, 0, 0]), 0.1, "each")
    assert not dropping.drops_nothing(lay_out([0, 0], [0, 1, 1]), 0.5, "joint")


def rows() -> st.SearchStrategy[list[list[int]]]:
    runs = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=4)

    def number(pairs: list[tuple[int, int]]) -> list[int]:
        row = [0]
        for picture, (text, tokens) in enumerate(pairs, start=1):
            row += [0] * text + [picture] * tokens
        return [*row, 0]

    return st.lists(runs.map(number), min_size=1, max_size=4)


@settings(deadline=None)
@given(rows(), st.floats(0, 1), st.sampled_from(["joint", "each"]), st.integers(0, 1000))
def test_any_batch_keeps_what_each_row_keeps_alone(
    batch: list[list[int]], share: float, ranking: Ranking, seed: int
) -> None:
    layout = lay_out(*batch)
    scores = torch.rand(layout.valid_BT.shape, generator=torch.Generator().manual_seed(seed))
    found = kept_of(scores, layout, share, ranking)
    for row, kept, score in zip(batch, found, scores.tolist(), strict=True):
        assert kept == slowly(row, score, share, ranking)


def slowly(row: list[int], score: list[float], share: float, ranking: Ranking) -> list[int]:
    group = [min(picture, 1) if ranking == "joint" else picture for picture in row]
    kept = [place for place, one in enumerate(group) if one == 0]
    for one in set(group) - {0}:
        members = [place for place, other in enumerate(group) if other == one]
        best = sorted(members, key=lambda place: -score[place])
        kept += best[: int(len(members) * share)]
    return sorted(kept)

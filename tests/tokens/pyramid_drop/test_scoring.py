"""Scores against the slow, obvious computation."""

import math

import torch

from tokens.pyramid_drop import scoring


def test_attention_is_the_mean_of_the_heads_softmax() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 4, 1, 8), torch.randn(1, 2, 5, 8)
    allowed = torch.tensor([[[True, True, False, True, True]]])
    found = scoring.attention(q, k, allowed)[0, 0]
    expected = torch.zeros(5)
    for head in range(4):
        products = [float(q[0, head, 0] @ k[0, head // 2, token]) / 8**0.5 for token in range(5)]
        powers = [math.exp(x) if token != 2 else 0.0 for token, x in enumerate(products)]
        expected += torch.tensor(powers) / sum(powers) / 4
    torch.testing.assert_close(found, expected)


def test_scores_carry_no_gradient() -> None:
    q = torch.randn(1, 2, 1, 4, requires_grad=True)
    k = torch.randn(1, 2, 3, 4, requires_grad=True)
    scores = scoring.attention(q, k, torch.ones(1, 1, 3, dtype=torch.bool))
    assert not scores.requires_grad


def test_a_query_that_may_read_nothing_scores_nothing() -> None:
    scores = scoring.attention(
        torch.randn(1, 2, 1, 4), torch.randn(1, 2, 3, 4), torch.zeros(1, 1, 3, dtype=torch.bool)
    )
    assert scores.tolist() == [[[0.0, 0.0, 0.0]]]


def test_only_counted_queries_are_averaged() -> None:
    scores = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    counted = torch.tensor([[True, True, False]])
    assert scoring.mean_over_queries(scores, counted).tolist() == [[0.5, 0.5]]


def test_salient_text_attends_to_the_picture_more_than_the_mean() -> None:
    scores = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]]])  # to the picture, to the rest
    visual = torch.tensor([[True, False]])
    text = torch.tensor([[True, True, False]])
    assert scoring.salient_queries(scores, visual, text).tolist() == [[True, False, False]]


def test_random_scores_depend_on_the_rows_own_seed_alone() -> None:
    both = scoring.random_scores([3, 4], 9)
    assert torch.equal(both[1, :5], scoring.random_scores([4], 5)[0])
    assert not torch.equal(both[0], both[1])


def test_uniform_scores_choose_as_many_as_the_quota_evenly() -> None:
    group = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 0, 2, 2]])
    quota = torch.tensor([[2, 3, 1]])
    assert scoring.uniform_scores(group, quota)[0, 1:7].tolist() == [0, 1, 0, 1, 0, 1]
    assert scoring.uniform_scores(group, quota)[0, 8:].sum() == 1


def test_places_count_within_a_group() -> None:
    place, size = scoring.places(torch.tensor([[0, 1, 0, 1, 1]]), 2)
    assert place.tolist() == [[0, 0, 1, 1, 2]]
    assert size.tolist() == [[2, 3, 2, 3, 3]]

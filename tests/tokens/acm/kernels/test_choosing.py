"""The gate's kernel chooses as the gate does; every row gets its place among the sorted ones."""

import pytest
import torch

from tokens.acm.gate import Gate
from tokens.acm.kernels import reference

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

from tokens.acm.kernels.choosing import BLOCK_ROWS, choose, place_rows

CLEAR = 1e-3  # between the two largest logits: the kernel adds up in float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("width", "hidden", "smallest", "tokens"),
    [(24, 16, 0, 50), (80, 5, 1, 37)],
    ids=["k = 0 too", "odd sizes"],
)
def test_it_chooses_what_the_reference_finds_likeliest(
    device: str, dtype: torch.dtype, width: int, hidden: int, smallest: int, tokens: int
) -> None:
    torch.manual_seed(0)
    gate = Gate(width, 4, smallest, hidden)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    gate = gate.to(device, dtype)
    x_RD = torch.randn(3 * tokens, width, device=device).to(dtype)
    beta_B = torch.tensor([0.0, 0.4, 1.0], device=device)
    chosen = choose(gate, x_RD, beta_B)
    logits = reference.gate_rows(gate, x_RD, beta_B)
    expected = logits.argmax(dim=1) + smallest
    assert len(set(expected.tolist())) > 2
    largest = logits.topk(2, dim=1).values
    clear = largest[:, 0] - largest[:, 1] > CLEAR
    assert clear.float().mean() > 0.9
    assert torch.equal(chosen.chosen_R[clear].long(), expected[clear])
    assert chosen.one_hot_RC.dtype == dtype
    assert torch.equal(chosen.one_hot_RC.float().sum(dim=1), torch.ones(3 * tokens, device=device))
    assert torch.equal(chosen.one_hot_RC.argmax(dim=1) + smallest, chosen.chosen_R.long())
    rows_R, ordered_R = reference.sort_rows(chosen.chosen_R)
    assert torch.equal(chosen.order.rows_R.long(), rows_R)
    assert torch.equal(chosen.order.chosen_R, ordered_R)


def test_a_row_that_is_no_number_gets_a_choice_and_disturbs_no_other(device: str) -> None:
    torch.manual_seed(0)
    gate, x_RD = Gate(16, 4, 1).to(device), torch.randn(6, 16, device=device)
    beta_B = torch.tensor([0.5], device=device)
    expected = choose(gate, x_RD, beta_B).chosen_R
    x_RD[2] = torch.nan
    chosen = choose(gate, x_RD, beta_B)
    assert 1 <= chosen.chosen_R[2] <= 4
    others = [0, 1, 3, 4, 5]
    assert torch.equal(chosen.chosen_R[others], expected[others])
    assert sorted(chosen.order.rows_R.tolist()) == list(range(6))


@pytest.mark.parametrize(
    "choices",
    [[3], [0], [2] * 64, [0] * 65, [4, 0] * 70, [row * 7 % 5 for row in range(200)]],
    ids=["one row", "one skipped row", "a full block", "one more", "two choices", "all choices"],
)
def test_rows_are_sorted_by_choice_and_keep_their_order(device: str, choices: list[int]) -> None:
    chosen_R = torch.tensor(choices, dtype=torch.int32, device=device)
    split = torch.split(chosen_R, BLOCK_ROWS)
    blocks = [torch.bincount(block, minlength=8) for block in split]
    order = place_rows(chosen_R, torch.stack(blocks).int())
    rows_R, ordered_R = reference.sort_rows(chosen_R)
    assert torch.equal(order.rows_R.long(), rows_R)
    assert torch.equal(order.chosen_R, ordered_R)


def test_a_gate_of_another_type_is_refused(device: str) -> None:
    gate = Gate(16, 4, 0).to(device)
    with pytest.raises(ValueError, match=r"a gate of torch\.float32 for rows of torch\.float16"):
        choose(gate, torch.zeros(4, 16, device=device).half(), torch.zeros(1, device=device))

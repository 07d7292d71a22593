"""The kernels' outputs are the sums of prefixes, in every type, whatever rows come together."""

from typing import Any

import pytest
import torch

from tokens.acm.kernels import reference
from tokens.acm.learners import Learners, LearnerSpec

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

from tokens.acm.kernels.choosing import SortedRows
from tokens.acm.kernels.products import run_learners
from tokens.acm.kernels.tiles import FULL, HALF, SMALL, Tiles, choose_tiles

ERRORS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}  # relative to the norm
CHOICES = {
    "mixed": [3, 0, 4, 1, 4, 2, 0, 1, 3] * 4,
    "all": [4] * 20,
    "none": [0] * 20,
    "one learner": [1] * 17,
    "no largest": [2, 0, 1],
    "one row": [4],
    "one skipped row": [0],
}
SPECS = {
    "even": LearnerSpec(32, 32, 4, 16, gelu=True),
    "odd": LearnerSpec(20, 27, 4, 11, gelu=True),
    "projection": LearnerSpec(24, 24, 4, 6, gelu=False),
}


def make_learners(spec: LearnerSpec, dtype: torch.dtype, device: str) -> Learners:
    torch.manual_seed(0)
    learners = Learners(spec)
    torch.nn.init.normal_(learners.bias)
    return learners.to(device, dtype)


def choose(choices: list[int], device: str) -> torch.Tensor:
    return torch.tensor(choices, dtype=torch.int32, device=device)


def sort(choices: list[int], device: str) -> SortedRows:
    return SortedRows(*(one.int() for one in reference.sort_rows(choose(choices, device))))


def run(learners: Learners, x_RD: torch.Tensor, choices: list[int]) -> torch.Tensor:
    return run_learners(learners, x_RD, sort(choices, str(x_RD.device)), SMALL)


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_it_is_as_near_to_the_reference_as_its_type_allows(
    device: str, spec: LearnerSpec, dtype: torch.dtype
) -> None:
    learners, choices = make_learners(spec, dtype, device), CHOICES["mixed"]
    x_RD = torch.randn(len(choices), spec.inputs, device=device).to(dtype)
    outputs = run(learners, x_RD, choices)
    expected = reference.run_learners(learners, x_RD, choose(choices, device))
    assert outputs.dtype == dtype
    assert (outputs - expected).norm() < ERRORS[dtype] * expected.norm()


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES.keys())
def test_each_row_gets_the_prefix_sum_of_its_choice(device: str, choices: list[int]) -> None:
    learners = make_learners(SPECS["odd"], torch.float32, device)
    x_RD = torch.randn(len(choices), 20, device=device)
    expected = reference.run_learners(learners, x_RD, choose(choices, device)).float()
    torch.testing.assert_close(run(learners, x_RD, choices), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tiles", [HALF, FULL, Tiles(16, 32, 16, group=3)], ids=str)
def test_tiles_change_no_output(device: str, tiles: Tiles) -> None:
    learners, choices = make_learners(SPECS["odd"], torch.float16, device), CHOICES["mixed"]
    x_RD = torch.randn(len(choices), 20, device=device).half()
    order = sort(choices, device)
    expected = run_learners(learners, x_RD, order, SMALL)
    torch.testing.assert_close(run_learners(learners, x_RD, order, tiles), expected)


def test_a_row_equals_itself_in_any_batch(device: str) -> None:
    learners = make_learners(SPECS["odd"], torch.float32, device)
    choices = CHOICES["mixed"]
    x_RD = torch.randn(len(choices), 20, device=device)
    together = run(learners, x_RD, choices)
    turned = run(learners, x_RD.flip(0), choices[::-1]).flip(0)
    torch.testing.assert_close(turned, together)
    for row in range(5):
        alone = run(learners, x_RD[row : row + 1], choices[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_what_no_program_wrote_is_never_read(
    device: str, spec: LearnerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners, choices = make_learners(spec, torch.float32, device), CHOICES["no largest"] * 9
    x_RD = torch.randn(len(choices), spec.inputs, device=device)
    expected, empty = run(learners, x_RD, choices), torch.empty

    def fill(*shape: int, dtype: torch.dtype, device: Any) -> torch.Tensor:
        made = empty(*shape, dtype=dtype, device=device)
        return made.fill_(torch.nan) if dtype.is_floating_point else made

    monkeypatch.setattr(torch, "empty", fill)
    assert torch.equal(run(learners, x_RD, choices), expected)


def test_inputs_are_left_as_they_are(device: str) -> None:
    learners = make_learners(SPECS["even"], torch.float32, device)
    choices = CHOICES["mixed"]
    x_RD = torch.randn(len(choices), 32, device=device)
    before = x_RD.clone()
    run(learners, x_RD, choices)
    assert torch.equal(x_RD, before)


def test_other_types_are_refused_in_a_sentence(device: str) -> None:
    learners = make_learners(SPECS["even"], torch.float32, device)
    with pytest.raises(ValueError, match=r"learners of torch\.float32 for rows of torch\.float16"):
        run(learners, torch.zeros(3, 32, device=device).half(), [1, 2, 3])
    with pytest.raises(ValueError, match=r"kernels for torch\.float64 do not exist"):
        choose_tiles(torch.float64, 16)


def test_steps_divide_a_learners_units_where_they_can() -> None:
    for dtype, units, inner in [
        (torch.bfloat16, 768, 64),
        (torch.bfloat16, 96, 32),
        (torch.float16, 16, 16),
        (torch.float16, 11, 64),
        (torch.float32, 768, 32),
    ]:
        assert choose_tiles(dtype, units).inner == inner

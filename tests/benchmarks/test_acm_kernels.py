"""What the benchmark of the kernels does without an accelerator."""

import sys

import pytest
import torch

from benchmarks import acm_kernels
from benchmarks.acm_kernels import SHARES, find_error, fit_gates, main, make_layer
from tokens.acm import module
from tokens.acm.network import AcmSettings, AcmVit
from tokens.vision_transformer import PatchSpec

SPEC = PatchSpec(16, 4, (0.3,), (0.3,), 16, 1, 2, 32, patch_px=4)


def test_without_an_accelerator_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acm_kernels, "has_kernels", lambda x: False)
    monkeypatch.setattr(sys, "argv", ["acm_kernels"])
    with pytest.raises(SystemExit, match="needs an accelerator"):
        main()


def test_a_gate_chooses_with_the_shares_that_were_given() -> None:
    torch.manual_seed(0)
    x_BTD = torch.randn(8, 60, 16)
    layer = make_layer(16, 32, SHARES, x_BTD)
    _, choice = layer(x_BTD, torch.full((8,), 0.5), "dense")
    found = choice.learners_BT.flatten().bincount(minlength=5) / 480
    torch.testing.assert_close(found, torch.tensor(SHARES), rtol=0, atol=0.03)


def test_gates_of_a_net_are_fitted_one_after_the_other() -> None:
    torch.manual_seed(0)
    net = AcmVit(SPEC, AcmSettings(shared_gate=True)).eval()
    pictures, beta_B = (
        torch.randint(0, 256, (16, 16, 16), dtype=torch.uint8),
        torch.full((16,), 0.5),
    )
    fit_gates(net, pictures, beta_B, SHARES)
    _, choices = net(pictures, beta_B)
    for choice in choices:
        assert len(set(choice.learners_BT.flatten().tolist())) == 5 - choice.smallest


def test_the_error_is_that_of_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton has wheels for Linux only")
    monkeypatch.setattr(module, "has_kernels", lambda x: True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    x_BTD = torch.randn(1, 40, 16, device=device).to(torch.bfloat16)
    layer = make_layer(16, 32, SHARES, x_BTD)
    assert 1e-4 < find_error(layer, x_BTD) < 1e-2

"""A whole net through the kernels: the answers and choices of torch's operations."""

import pytest
import torch

from tokens.acm import module
from tokens.acm.network import AcmSettings, AcmVit
from tokens.vision_transformer import PatchSpec

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

SPEC = PatchSpec(16, 4, (0.3,), (0.3,), 16, 1, 2, 32, patch_px=4)
BETA = (0.1, 0.5, 0.9)


@pytest.fixture(autouse=True)
def _kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everywhere: the interpreter runs them on the CPU."""
    monkeypatch.setattr(module, "has_kernels", lambda x: True)


def make_net(settings: AcmSettings, device: str) -> AcmVit:
    torch.manual_seed(0)
    net = AcmVit(SPEC, settings)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.to(device).eval()


@pytest.mark.parametrize(
    "settings",
    [AcmSettings(shared_gate=True), AcmSettings(projections=False)],
    ids=["shared gate", "mlp alone"],
)
def test_it_has_the_logits_and_choices_of_torchs_operations(
    device: str, settings: AcmSettings
) -> None:
    net = make_net(settings, device)
    pictures = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, device=device)
    beta_B = torch.tensor(BETA, device=device)
    with torch.no_grad():
        logits, choices = net(pictures, beta_B)
        expected, others = net(pictures, beta_B, "dense")
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    assert len(choices) == len(others)
    for one, other in zip(choices, others, strict=True):
        assert torch.equal(one.learners_BT, other.learners_BT)
        assert one.smallest == other.smallest
    assert len({k for one in choices for k in one.learners_BT.flatten().tolist()}) > 1


def test_training_uses_torchs_operations_so_that_gradients_pass(device: str) -> None:
    net = make_net(AcmSettings(), device).train()
    pictures = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, device=device)
    logits, _ = net(pictures, torch.tensor(BETA, device=device))
    assert logits.requires_grad

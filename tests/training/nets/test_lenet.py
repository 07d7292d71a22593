"""B-LeNet is the papers' net."""

import math

import pytest
import torch

from training.nets.exit_net import ExitNet
from training.nets.lenet import branchynet, entropy_threshold, lenet, truncated


def parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def pictures(rows: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (rows, 28, 28), dtype=torch.uint8)


def test_the_nets_have_the_published_numbers_of_parameters() -> None:
    assert parameters(lenet()) == 67_824
    assert parameters(truncated(branchynet())) == 7_000


def test_a_trained_lenet_is_where_branchynet_begins() -> None:
    main = lenet()
    branchy = branchynet(main)
    x = pictures()
    first, last = branchy(x)
    assert first.shape == last.shape == (3, 10)
    torch.testing.assert_close(last, main(x)[0])


def test_training_branchynet_leaves_the_lenet_it_began_with_alone() -> None:
    main = lenet()
    before = [parameter.clone() for parameter in main.parameters()]
    branchy = branchynet(main)
    with torch.no_grad():
        for parameter in branchy.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, main.parameters(), strict=True))


def test_the_truncated_net_is_exit_one() -> None:
    branchy, x = branchynet(), pictures()
    light = truncated(branchy)
    assert isinstance(light, ExitNet)
    torch.testing.assert_close(light(x)[0], branchy(x)[0])


def test_the_papers_pool_before_and_relu_after_gives_the_same_as_the_shared_one() -> None:
    branchy, x = branchynet(), pictures()
    conv = branchy.segments[0][0]  # type: ignore[index]
    features = conv(x.unsqueeze(1) / 255)
    assert features.shape[1:] == (5, 30, 30)
    pooled = torch.relu(torch.nn.functional.max_pool2d(features, 2))
    assert torch.allclose(branchy.heads[0](pooled), branchy(x)[0], atol=1e-5)


def test_the_papers_nats_become_a_threshold_where_higher_is_surer() -> None:
    assert entropy_threshold(0.0) == 1.0
    assert entropy_threshold(math.log(10)) == pytest.approx(0.0)
    assert entropy_threshold(0.5, classes=10) == pytest.approx(1 - 0.5 / math.log(10))

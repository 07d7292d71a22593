"""The dense vision transformer: shapes, independent rows, refused sizes."""

from dataclasses import replace

import pytest
import torch

from tokens.vision_transformer import (
    CoarseSpec,
    PatchSpec,
    VisionTransformer,
    VitSpec,
    attend,
)

GREY = VitSpec(8, 4, (0.3,), (0.3,), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8))
COLOUR = replace(GREY, mean=(0.3, 0.2, 0.1), std=(0.3, 0.2, 0.1))

PATCHES = PatchSpec(
    8, 4, (0.3,) * 3, (0.3,) * 3, width=16, layers=2, heads=2, hidden=32, patch_px=4
)


def make_net(spec: VitSpec) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(spec).eval()


def make_pictures(spec: VitSpec, rows: int) -> torch.Tensor:
    shape = (rows, spec.size_px, spec.size_px) + ((3,) if len(spec.mean) == 3 else ())
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator())


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
def test_pictures_become_a_row_of_logits_each(spec: VitSpec) -> None:
    net = make_net(spec)
    pictures = make_pictures(spec, 3)
    assert net.embed(pictures).shape == (3, 4, 16)
    assert net(pictures).shape == (3, 4)


def test_a_coarse_net_halves_the_side_three_times() -> None:
    spec = CoarseSpec(
        16, 4, (0.3,) * 3, (0.3,) * 3, width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8)
    )
    assert make_net(spec).embed(make_pictures(spec, 3)).shape == (3, 4, 16)
    products = 8 * 8 * 4 * 3 * 9 + 4 * 4 * 8 * 4 * 9 + 2 * 2 * (8 * 8 * 9 + 8 * 16)
    assert spec.count_stem() == products
    with pytest.raises(ValueError, match="a multiple of 8 is needed"):
        VisionTransformer(replace(spec, size_px=12))


def test_patches_follow_a_class_token_which_the_head_reads() -> None:
    net = make_net(PATCHES)
    assert net.class_token is not None
    torch.nn.init.normal_(net.class_token)
    pictures = make_pictures(PATCHES, 3)
    x_BTD = net.embed(pictures)
    assert x_BTD.shape == (3, 1 + 4, 16)
    torch.testing.assert_close(x_BTD[0, 0], net.class_token + net.positions[0])
    changed = x_BTD.clone()
    changed[:, 1:] += 1.0
    assert torch.equal(net.classify(changed), net.classify(x_BTD))
    assert net(pictures).shape == (3, 4)


def test_a_norm_adds_what_the_spec_says() -> None:
    net = make_net(replace(PATCHES, norm_eps=1e-3))
    norms = [one for one in net.modules() if isinstance(one, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-3}


def test_a_net_of_half_precision_has_logits_of_half_precision() -> None:
    net = make_net(PATCHES).to(torch.bfloat16)
    assert net(make_pictures(PATCHES, 2)).dtype == torch.bfloat16


def test_a_picture_has_the_same_logits_in_any_batch() -> None:
    net, pictures = make_net(GREY), make_pictures(GREY, 5)
    alone = torch.cat([net(picture[None]) for picture in pictures])
    torch.testing.assert_close(net(pictures), alone, rtol=1e-4, atol=1e-5)


def test_attention_mixes_values_by_softmax_of_each_head() -> None:
    q, k, v = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    heads = []
    for start in (0, 3):
        part = slice(start, start + 3)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / 3**0.5
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    torch.testing.assert_close(attend(q, k, v, 2), torch.cat(heads, dim=-1))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(GREY, size_px=30), "a multiple of 4"),
        (replace(PATCHES, patch_px=3), "a multiple of 3"),
        (replace(GREY, heads=3), "not a multiple of 3 heads"),
        (replace(GREY, std=(0.1, 0.2)), "1 means and 2 deviations"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_a_sentence(spec: VitSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisionTransformer(spec)

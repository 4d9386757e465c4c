"""The embedding whose first norm lives in its projection, against the norm written out."""

import pytest
import torch
import torch.nn.functional as F

from ivn.model.patch import EPS, PatchEmbed, normalised, take_patches

C, P = 24, 14


@pytest.fixture
def embed():
    embed = PatchEmbed(P, C).double()
    with torch.no_grad():
        for parameter in embed.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return embed


def written_out(embed, video, index):
    """RMSNorm with its weight, convolution, RMSNorm, on float patches: as the release does it."""
    rows = take_patches(video, index, P)
    rows = F.rms_norm(rows, rows.shape[-1:], embed.norm_before.weight, EPS)
    patches = rows.unflatten(2, (P, P, 3)).permute(0, 1, 4, 2, 3).flatten(0, 1)
    tokens = F.conv2d(patches, embed.proj.weight[:, :, 0], embed.proj.bias).view(*index.shape, C)
    return F.rms_norm(tokens, (C,), embed.norm.weight, EPS)


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_tokens_and_gradients_are_those_of_the_norm_written_out(embed, kind):
    """The norm's weight among them, whose gradient comes out of the projection's."""
    video = torch.randint(0, 256, (2, 3, 42, 28, 3), dtype=torch.uint8)
    index = torch.rand(2, 18).argsort(1)[:, :7]
    pixels = normalised(video.double(), torch.float64)
    tokens = embed(video if kind == "uint8" else pixels, index, torch.float64)
    expected = written_out(embed, pixels, index)
    # The video's own fp32 constants, ImageNet's mean and deviation, are rounded in the float path.
    torch.testing.assert_close(tokens, expected, rtol=1e-6, atol=1e-6)
    weights = torch.randn_like(tokens)
    parameters = dict(embed.named_parameters())
    ours, theirs = (
        torch.autograd.grad((out * weights).sum(), list(parameters.values()))
        for out in (tokens, expected)
    )
    assert "norm_before.weight" in parameters
    for name, a, b in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()), msg=name)


def test_padding_has_no_parameters(embed):
    shapes = {name: tuple(p.shape) for name, p in embed.named_parameters()}
    assert shapes == {
        "proj.weight": (C, 3, 1, P, P),
        "proj.bias": (C,),
        "norm_before.weight": (3 * P * P,),
        "norm.weight": (C,),
    }

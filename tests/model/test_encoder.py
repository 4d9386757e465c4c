"""Claims on the encoder beside equality with the official one."""

import pytest
import torch
import torch.nn.functional as F

import ivn
from ivn.keys import Purpose, make_keys
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.model.patch import normalised
from ivn.model.positions import resize_table, sincos_table

CONFIG = EncoderConfig(
    64, 3, 4, 128, image_height=56, image_width=56, num_frames=4, pool_heads=4, pool_width=48
)


@pytest.fixture
def encoder():
    """With LayerScale near one, so that what a block does is seen."""
    encoder = build_encoder(CONFIG, seed=0).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
    return encoder


def clip(T=4, H=56, W=56, B=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (B, T, H, W, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("shape", [(4, 56, 56), (1, 56, 56), (7, 28, 84), (8, 112, 70)])
def test_any_length_and_size(encoder, shape):
    T, H, W = shape
    tokens, cls = encoder(clip(*shape), cls=True)
    assert tokens.shape == (2, T * (H // 14) * (W // 14), 64) and cls.shape == (2, 4, 64)
    assert torch.isfinite(tokens).all() and encoder.pool(clip(*shape)).shape == (2, 48)


@pytest.mark.parametrize("shape", [(4, 56, 56), (6, 70, 56)])
def test_uint8_equals_float_in_values_and_gradients(encoder, shape):
    video = clip(*shape).double()
    encoder.double()
    results = []
    for input_ in (video.to(torch.uint8), normalised(video.to(torch.uint8), torch.float64)):
        encoder.zero_grad()
        tokens = encoder(input_)
        tokens.square().mean().backward()
        gradients = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        results.append([tokens.detach(), *gradients])
    assert len(results[0]) > 30
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_kept_tokens_do_not_depend_on_dropped_pixels(encoder):
    keep = torch.tensor([[0, 5, 17, 40], [3, 4, 50, 63]])
    video = clip()
    changed = video.clone()
    # token 1 of the first frame is in neither row of keep
    changed[:, 0, :14, 14:28] = 0
    assert torch.equal(encoder(video, keep=keep), encoder(changed, keep=keep))
    assert not torch.equal(encoder(video), encoder(changed))


def test_keeping_everything_is_the_whole_video(encoder):
    everything = torch.arange(64).expand(2, -1)
    torch.testing.assert_close(encoder(clip(), keep=everything), encoder(clip()))


def test_layers_are_the_stream_after_each_block(encoder):
    first, last = encoder(clip(), layers=[0, -1])
    torch.testing.assert_close(last, encoder(clip()))
    assert not torch.allclose(first, last)
    (tokens, cls), _ = encoder(clip(), layers=[0, 2], cls=True)
    torch.testing.assert_close(tokens, first)
    assert cls.shape == (2, 4, 64)
    with pytest.raises(ValueError, match=r"layers is \[3\], expected numbers in \[-3, 3\)"):
        encoder(clip(), layers=[3])


def test_bfloat16_is_near_fp32(encoder):
    exact = encoder(clip())
    encoder.compute_dtype = torch.bfloat16
    rounded = encoder(clip())
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).abs().max() / exact.abs().max()
    assert 0 < error < 0.05


def test_drop_path_depends_on_each_samples_key_alone(encoder):
    config = EncoderConfig(**{**vars(CONFIG), "drop_path": 0.5})
    dropping = build_encoder(config, seed=0)
    dropping.load_state_dict(encoder.state_dict())
    keys = make_keys(0, 0, range(8))
    video = clip(B=8)
    with pytest.raises(ValueError, match="drop_path needs keys"):
        dropping(video)
    whole = dropping(video, keys=keys)
    assert torch.allclose(dropping(video[3:4], keys=keys[3:4]), whole[3:4], atol=1e-5)
    unlike = (whole - encoder(video)).abs().amax((1, 2)) > 1e-3
    assert unlike.any()
    assert torch.allclose(dropping.eval()(video), encoder(video), atol=1e-5)


def test_drop_path_keeps_the_expected_share():
    config = EncoderConfig(**{**vars(CONFIG), "drop_path": 0.4})
    encoder = build_encoder(config, seed=0)
    factors = encoder._drop_factors(4000, make_keys(0, 0, range(4000)), Purpose.DROP_PATH, 0)
    kept = (factors > 0).double().mean((0, 1, 3))
    torch.testing.assert_close(kept, torch.tensor([1.0, 0.8, 0.6]).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(factors.mean((0, 1, 3)), torch.ones(3), atol=0.05, rtol=0)


def test_position_table_is_as_documented():
    table = sincos_table(32, (3, 2, 5)).view(3, 2, 5, 32)
    assert torch.equal(table[:, 0, 0, :8], table[:, 1, 4, :8])  # time alone
    assert torch.equal(table[0, 0, :, 8:20], table[2, 1, :, 8:20])  # then columns alone
    assert torch.equal(table[0, :, 0, 20:], table[2, :, 3, 20:])  # then rows alone
    one = torch.tensor(1.0)
    torch.testing.assert_close(table[1, 0, 0, 0], one.sin())
    torch.testing.assert_close(table[1, 0, 0, 4], one.cos())


def test_interpolation_is_linear_in_time_then_bicubic_in_space():
    table = torch.randn(1, 4 + 4 * 4 * 4, 16)
    ours = resize_table(table, (4, 4, 4), (6, 5, 3))
    grid = table[0, 4:].view(4, 16, 16).permute(1, 2, 0)  # [places, C, T]
    times = F.interpolate(grid, size=6, mode="linear").permute(2, 1, 0).unflatten(2, (4, 4))
    expected = F.interpolate(times, size=(5, 3), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours[4:], expected.flatten(0, 1))
    assert torch.equal(ours[:4], table[0, :4])


def test_positions_are_kept_in_inference_and_learn_in_training(encoder):
    video = clip(6)
    with torch.no_grad():
        before = encoder(video)
        assert encoder._positions(encoder.pos_embed, (6, 4, 4)) is encoder._positions(
            encoder.pos_embed, (6, 4, 4)
        )
        encoder.pos_embed += 1
        assert not torch.allclose(encoder(video), before)
    encoder(video).sum().backward()
    assert (encoder.pos_embed.grad[0, 4:] != 0).any(1).all()


def test_wrong_videos_are_refused(encoder):
    with pytest.raises(ValueError, match="30 x 28 pixels, expected multiples of the patch size 14"):
        encoder(clip(4, 30, 28))
    with pytest.raises(ValueError, match="expected uint8"):
        encoder(torch.zeros(2, 4, 56, 56, 3))
    with pytest.raises(ValueError, match=r"keep is torch\.int32"):
        encoder(clip(), keep=torch.zeros(2, 3, dtype=torch.int32))


def test_same_seed_same_weights_and_every_weight_is_set():
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
    first, second, other = (build_encoder(CONFIG, seed=s).state_dict() for s in (1, 1, 2))
    for key, value in first.items():
        assert torch.isfinite(value).all(), key
        assert torch.equal(value, second[key])
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])


def test_presets_give_encoders():
    encoder = ivn.load_encoder("stage1-tiny")
    assert encoder.config.depth == 6 and not encoder.training
    assert encoder(clip(8, 112, 112, B=1)).shape == (1, 512, 192)


@pytest.mark.parametrize("token", [-1, 64])
@pytest.mark.parametrize("video", [clip(), normalised(clip())], ids=["uint8", "float"])
def test_tokens_outside_the_clip_are_refused(encoder, video, token):
    with pytest.raises(ValueError, match=rf"encoder: keep\[0\] holds {token}, expected 0 to 63"):
        encoder(video, keep=torch.tensor([[1, token], [2, 3]]))

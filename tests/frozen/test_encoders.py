"""Frozen encoders: each pool is what the network itself says, whatever the batch."""

import numpy as np
import pytest
import torch

import ivn
from ivn.data.batch import ClipSpec
from ivn.errors import EncoderError
from ivn.frozen import Teacher
from ivn.frozen.encoders import CELLS, FrozenEncoder, FrozenPixels, FrozenTeacher
from ivn.frozen.protocol import ClipNetwork, ImageNetwork
from ivn.load import load_frozen
from ivn.model.encoder import EncoderConfig, build_encoder

CONFIG = EncoderConfig(
    64, 2, 4, 128, image_height=28, image_width=28, num_frames=3, pool_heads=4, pool_width=48
)
SPEC = ClipSpec(3, 28)


def clips(B: int, T: int = 3, S: int = 28) -> torch.Tensor:
    return torch.randint(0, 256, (B, T, S, S, 3), dtype=torch.uint8)


def away_from_zero(encoder):
    """Branches count, as in a trained network: layer scales start at 1e-5."""
    for name, parameter in encoder.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.5)
    return encoder


@pytest.fixture
def encoder():
    return away_from_zero(build_encoder(CONFIG, seed=0)).eval()


def test_our_encoders_features_are_its_own(encoder):
    frozen, video = FrozenEncoder("e", encoder, SPEC), clips(2)
    with torch.no_grad():
        tokens, cls = encoder(video, cls=True)
        pooled = encoder.pool(video)
    expected = {
        "none": tokens.view(2, 3, 4, 64),
        "frames": tokens.view(2, 3, 4, 64).mean(2),
        "mean": tokens.mean(1),
        "attn": pooled,
        "cls": cls,
    }
    assert set(frozen.pools) == set(expected) and (frozen.slots, frozen.width) == (3, 64)
    for pool, value in expected.items():
        found = frozen.features(video, pool)
        assert found.dtype == torch.float32 and not found.requires_grad
        torch.testing.assert_close(found, value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layer", "given"), [(0, 0), (0, -2), (1, 1), (1, -1)])
def test_features_of_a_layer_are_the_stream_behind_its_block(encoder, layer, given):
    frozen, video = FrozenEncoder("e", encoder, SPEC, layer=given), clips(2)
    with torch.no_grad():
        ((tokens, cls),) = encoder(video, layers=[layer], cls=True)
    assert frozen.layer == layer
    expected = {"none": tokens.view(2, 3, 4, 64), "mean": tokens.mean(1), "cls": cls}
    for pool, value in expected.items():
        torch.testing.assert_close(frozen.features(video, pool), value, rtol=0, atol=1e-6)
    whole = FrozenEncoder("e", encoder, SPEC)
    assert ("attn" in frozen.pools) == (frozen.identity == whole.identity) == (layer == 1)
    for wrong in (2, -3):
        with pytest.raises(ValueError, match=f"layer {wrong}, expected a block of its 2: 0 to 1"):
            FrozenEncoder("e", encoder, SPEC, layer=wrong)


def test_raw_features_are_means_and_deviations_of_pixels_and_of_their_change():
    frozen, video = FrozenPixels("raw", ClipSpec(3, 20)), clips(2, 3, 20)
    pixels = video.double().numpy() / 255
    change = np.concatenate([np.zeros_like(pixels[:, :1]), np.diff(pixels, axis=1)], 1)
    found = frozen.features(video, "none")
    assert found.shape == (2, 3, CELLS**2, 12)
    for row, column in ((0, 0), (3, 7)):
        # Cells of 2.5 pixels overlap by one, as adaptive pooling has them.
        y, x = (slice(20 * k // CELLS, -(-20 * (k + 1) // CELLS)) for k in (row, column))
        parts = [part[:, :, y, x] for part in (pixels, change)]
        cell = [f(part, axis=(2, 3)) for part in parts for f in (np.mean, np.std)]
        expected = torch.from_numpy(np.concatenate(cell, -1)).float()
        torch.testing.assert_close(found[:, :, row * CELLS + column], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(frozen.features(video, "frames"), found.mean(2))
    torch.testing.assert_close(frozen.features(video, "mean"), found.mean((1, 2)))


class Colours(ImageNetwork):
    """The mean colour of an image, normalised, as its pooled vector."""

    read = None

    def __init__(self, side=32):
        super().__init__()
        self.image_size, self.grid, self.width, self.taps = side, 1, 3, ()
        self.bias, self.seen = torch.nn.Parameter(torch.zeros(3)), 0

    def features(self, images, tap, *, pooled, attention):
        assert pooled and not attention and images.shape[2:] == (self.image_size,) * 2
        self.seen += len(images)
        return images.mean((2, 3)) + self.bias, images.new_empty(len(images), 0)


def test_a_teachers_features_are_its_vectors_of_single_frames_enlarged_to_its_size():
    teacher = Teacher(Colours())
    frozen = FrozenTeacher("t", teacher, ClipSpec(3, 28), frames=3)
    levels = torch.tensor([[0, 51, 255], [102, 0, 51]], dtype=torch.uint8)
    video = levels[..., None, None, None].expand(-1, -1, 28, 28, 3)
    found = frozen.features(video, "frames")
    assert found.shape == (2, 3, 3) and (frozen.slots, frozen.width) == (3, 3)
    expected = (levels.double() / 255 - 0.5) / 0.5
    torch.testing.assert_close(found[..., 0].double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(frozen.features(video, "mean"), found.mean(1))
    assert teacher.network.seen == 2 * 4  # frames that clips share are computed once
    first = FrozenTeacher("t", teacher, ClipSpec(3, 28), frames=1)
    assert torch.equal(first.features(video, "frames"), found[:, :1])
    assert len({frozen.identity, first.identity, FrozenPixels("raw", SPEC).identity}) == 3


def test_a_teacher_of_clips_or_of_too_many_frames_is_refused():
    with pytest.raises(ValueError, match="4 frames, expected 1 to the clip's 3"):
        FrozenTeacher("t", Teacher(Colours()), SPEC, frames=4)

    class Whole(ClipNetwork):
        read = None

        def look(self, clips, tap, *, pooled, attention):
            raise AssertionError

    with pytest.raises(ValueError, match="takes whole clips, expected one of images"):
        FrozenTeacher("t", Teacher(Whole()), SPEC, frames=3)


@pytest.mark.parametrize("kind", ["encoder", "raw"])
def test_features_do_not_depend_on_the_batch(encoder, kind):
    frozen = FrozenEncoder("e", encoder, SPEC) if kind == "encoder" else FrozenPixels("raw", SPEC)
    frozen._clips_at_once = 4
    video = clips(5)
    for pool in frozen.pools:
        whole = frozen.features(video, pool)
        alone = torch.cat([frozen.features(clip[None], pool) for clip in video])
        torch.testing.assert_close(whole, alone, rtol=1e-5, atol=1e-5)


def test_few_clips_are_computed_at_a_time(encoder, monkeypatch):
    frozen = FrozenEncoder("e", encoder, SPEC)
    seen = []
    hidden = encoder.hidden

    def counted(video, **stop):
        seen.append(len(video))
        return hidden(video, **stop)

    monkeypatch.setattr(encoder, "hidden", counted)
    frozen.features(clips(1500), "mean")
    assert seen == [682, 682, 136]  # of 12 tokens each: 8192 at most


def test_the_identity_is_that_of_class_sizes_and_weights(encoder):
    one = FrozenEncoder("one", encoder, SPEC).identity
    again = FrozenEncoder("again", away_from_zero(build_encoder(CONFIG, seed=0)), SPEC).identity
    longer = FrozenEncoder("longer", encoder, ClipSpec(6, 28)).identity
    half = FrozenEncoder("half", build_encoder(CONFIG, seed=0).bfloat16(), SPEC).identity
    encoder.blocks[1].mlp.fc2.bias.data[3] = 1e-3
    changed = FrozenEncoder("one", encoder, SPEC).identity
    raw = [FrozenPixels("raw", ClipSpec(T, 28)).identity for T in (3, 3, 4)]
    assert one == again and raw[0] == raw[1]
    assert len({one, longer, half, changed, raw[0], raw[2]}) == 6
    assert len(one) == 64


def test_identities_are_those_of_earlier_versions():
    """Caches of features and saved heads are found by them."""
    expected = "e2c8cebc1cf0f69dd473ef1711762afddfb05bded0d26d1daf9f04dfedad04b5"
    assert FrozenPixels("raw", ClipSpec(2, 16)).identity == expected


def test_a_preset_is_an_encoder_with_random_weights():
    frozen = load_frozen("stage1-tiny")
    assert (frozen.name, frozen.spec) == ("stage1-tiny", ClipSpec(8, 112))
    other = load_frozen("stage1-tiny", frames=4, size=56)
    assert other.features(clips(1, 4, 56), "none").shape == (1, 4, 16, 192)
    assert frozen.identity == load_frozen("stage1-tiny").identity != other.identity


def test_a_file_of_weights_is_an_encoder(encoder, tmp_path):
    import json

    from safetensors.torch import save_file

    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    sizes = {"img_size": 28, "num_frames": 3, "num_heads": 4, "attn_pool_num_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": sizes}))
    frozen = ivn.load_frozen(str(tmp_path / "model.safetensors"))
    expected = FrozenEncoder("e", encoder, SPEC)
    assert torch.equal(frozen.features(clip := clips(1), "mean"), expected.features(clip, "mean"))
    assert frozen.identity == expected.identity


def test_what_an_encoder_does_not_take_or_give_is_told_in_a_line(encoder, tmp_path):
    frozen = load_frozen("raw", frames=3, size=28)
    with pytest.raises(ValueError, match="raw has no features 'attn', expected one of none, fr"):
        frozen.features(clips(1), "attn")
    for wrong in (clips(1, 4), clips(1, 3, 32), clips(1).float(), clips(1)[:0]):
        with pytest.raises(ValueError, match=r"expected uint8 \[B, 3, 28, 28, 3\]: raw takes 3"):
            frozen.features(wrong, "mean")
    with pytest.raises(EncoderError, match="frames of 60 pixels, expected a multiple of its patch"):
        load_frozen("stage1-tiny", size=60)
    with pytest.raises(EncoderError, match="at least 8 for 8 x 8 cells"):
        load_frozen("raw", size=4)
    with pytest.raises(EncoderError, match="frames 0"):
        load_frozen("raw", frames=0)
    with pytest.raises(FileNotFoundError, match="no encoder 'nothing'"):
        load_frozen("nothing")
    (tmp_path / "a.safetensors").write_text("hello")
    with pytest.raises(EncoderError, match="cannot be read as plain weights"):
        load_frozen(str(tmp_path / "a.safetensors"))

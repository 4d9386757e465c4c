"""What is asked of an encoder is done, or refused by its name: sizes, dtype, clips."""

import pytest
import torch

import ivn
from ivn.config.presets import PRESETS
from ivn.errors import EncoderError

TINY = PRESETS["stage1-tiny"]().model.encoder


def test_sizes_of_a_preset_are_taken():
    encoder = ivn.load_encoder("stage1-tiny", image_size=56, num_frames=4)
    assert encoder.config.grid == (4, 4, 4) and encoder.pos_embed.shape[1] == 4 + 64
    sizes = {"image_size": (28, 56), "num_heads": 6, "pool_heads": 2}
    config = ivn.load_encoder("stage1-tiny", **sizes).config
    assert (config.grid, config.heads, config.pool_heads) == ((8, 2, 4), 6, 2)
    assert ivn.load_encoder("stage1-tiny").config == TINY


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"image_size": 57}, "image_size is 57 x 57, expected multiples of its patch size 14"),
        ({"image_size": (56, 56, 3)}, r"image_size is \(56, 56, 3\), expected pixels"),
        ({"image_size": "56"}, "image_size is '56', expected pixels"),
        ({"num_frames": 0}, "num_frames is 0, expected a whole number of at least 1"),
        ({"num_heads": 5}, "num_heads is 5, but its width 192 does not divide into 5 heads"),
        ({"pool_heads": 4.0}, "pool_heads is 4.0, expected a whole number"),
    ],
)
def test_sizes_of_a_preset_that_cannot_be_are_refused_by_name(sizes, words):
    with pytest.raises(ValueError, match=f"stage1-tiny: {words}"):
        ivn.load_encoder("stage1-tiny", **sizes)


def test_sizes_of_the_encoder_reach_a_frozen_one():
    frozen = ivn.load_frozen("stage1-tiny", image_size=56, num_frames=4, num_heads=6)
    assert (frozen.spec.frames, frozen.spec.size) == (4, 56)
    assert frozen.encoder.config.heads == 6
    other = ivn.load_frozen("stage1-tiny", image_size=56, num_frames=4, frames=2, size=28)
    assert (other.spec.frames, other.spec.size) == (2, 28)


def test_a_name_that_is_no_encoder_brings_the_nearest_preset_not_all():
    listed = r"no encoder '.*': .* or a preset \(ivn config lists them\)"
    with pytest.raises(FileNotFoundError, match=rf"{listed}; did you mean stage1-base\?$"):
        ivn.load_encoder("stage1-bse")
    with pytest.raises(FileNotFoundError, match=f"{listed}$"):
        ivn.load_encoder("run3")


@pytest.mark.parametrize("source", ["raw", "hf:facebook/vjepa2@random", "timm:vit_tiny@random"])
def test_what_has_no_such_sizes_refuses_them(source):
    with pytest.raises(EncoderError, match="has no use for image_size, num_heads"):
        ivn.load_frozen(source, image_size=56, num_heads=4)


def test_a_dtype_that_raw_pixels_do_not_have_is_refused():
    with pytest.raises(EncoderError, match=r"raw: dtype torch\.bfloat16, expected none"):
        ivn.load_frozen("raw", dtype=torch.bfloat16)


@pytest.mark.parametrize("load", [ivn.load_encoder, ivn.load_model, ivn.load_frozen])
@pytest.mark.parametrize("dtype", [torch.float16, torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_a_dtype_that_a_cpu_does_not_compute_in_is_refused_before_anything_is_read(load, dtype):
    with pytest.raises(ValueError, match=r"dtype is .*torch\.bfloat16") as caught:
        load("/nowhere", dtype=dtype)
    assert "torch.float32" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_encoder_computes_in_its_dtype(dtype):
    encoder = ivn.load_encoder("stage1-tiny", image_size=28, num_frames=1, dtype=dtype)
    with torch.no_grad():
        assert encoder(torch.zeros(1, 1, 28, 28, 3, dtype=torch.uint8)).dtype == dtype

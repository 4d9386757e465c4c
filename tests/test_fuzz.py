"""Damaged files give what is there or one clear error, never anything else."""

import os
import random
from pathlib import Path

import pytest
from safetensors.torch import save_file

import ivn
from ivn.config import ConfigError, from_toml, to_toml
from ivn.data.clip import ClipSpec
from ivn.data.container import DecodeError
from ivn.data.reader import read_centre
from ivn.data.source import BUNDLED_CLIPS, Source
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.presets import PRESETS

COUNT = int(os.environ.get("IVN_SOAK", "10"))


def damaged(content: bytes, seed: int) -> bytes:
    """Some bytes changed, and in every third case the end cut off."""
    draw = random.Random(seed)
    changed = bytearray(content)
    for _ in range(draw.choice((1, 16, 256))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed[: draw.randrange(len(changed))] if seed % 3 == 0 else changed)


@pytest.mark.parametrize("seed", range(COUNT))
def test_damaged_clips(seed, tmp_path):
    clips = sorted(path for path in BUNDLED_CLIPS.iterdir() if path.suffix != ".tsv")
    clip = clips[seed % len(clips)]
    path = tmp_path / clip.name
    path.write_bytes(damaged(clip.read_bytes(), seed))
    try:
        frames = read_centre(Source(str(path)), ClipSpec(4, 56))
    except DecodeError as error:
        assert clip.name in str(error) and "\n" not in str(error)
    else:
        assert frames.shape == (4, 56, 56, 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    config = EncoderConfig(16, 1, 1, 16, image_height=14, image_width=14, num_frames=1)
    config = EncoderConfig(**{**vars(config), "pool_heads": 1, "pool_width": 16})
    path: Path = tmp_path_factory.mktemp("weights") / "e.safetensors"
    save_file(build_encoder(config, seed=0).state_dict(), path)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(COUNT))
def test_damaged_weights(seed, weights, tmp_path):
    path = tmp_path / "e.safetensors"
    # Most of the file is numbers: damage its header too.
    header = damaged(weights[:4000], seed)
    path.write_bytes(header + weights[4000:] if seed % 2 else damaged(weights, seed))
    try:
        ivn.load_encoder(path, image_size=14, num_frames=1, num_heads=1, pool_heads=1)
    except ValueError as error:
        assert "e.safetensors" in str(error) or "checkpoint" in str(error)


@pytest.mark.parametrize("seed", range(COUNT))
def test_damaged_configs(seed):
    text = damaged(to_toml(PRESETS["stage2-tiny"]()).encode(), seed)
    try:
        from_toml(text.decode("latin-1"))
    except ConfigError as error:
        assert "\n" not in str(error)

"""Clips, small videos, a run and a cache for `ivn evaluate` on the command line."""

import json

import numpy as np
import pytest
from safetensors.torch import save_file

from ivn.config.presets import PRESETS
from ivn.config.run import override, to_toml
from ivn.model.encoder import build_encoder
from tests.evaluate.commanded import PEOPLE, SIGNS, bundled, write_list
from tests.media.videos import write_video


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    """Features of these tests: shared by them, and nobody else's."""
    place = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setenv("COLUMNS", "100")
    return place


@pytest.fixture
def clips(tmp_path):
    """Eight signs and five faces; labels are true."""
    return write_list(tmp_path / "list.csv", bundled(SIGNS, "sign") + bundled(PEOPLE, "face"))


@pytest.fixture(scope="session")
def patterns(tmp_path_factory):
    """Twenty small videos of a few KB, each with colours of its own."""
    folder = tmp_path_factory.mktemp("patterns")
    random = np.random.default_rng(0)
    for number in range(20):
        tiles = random.integers(0, 256, (4, 4, 3)).repeat(6, 0).repeat(6, 1)
        frames = np.stack([tiles.clip(0, 255)] * 20).astype(np.uint8)
        write_video(folder / f"{number}.mkv", frames)
    return folder


@pytest.fixture
def run(tmp_path):
    """What a run of ``stage1-tiny`` leaves, with weights far from those that its seed gives."""
    place = tmp_path / "run"
    checkpoint = place / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    sizes = (
        "model.encoder.depth=1",
        "model.encoder.image_height=28",
        "model.encoder.image_width=28",
    )
    config = override(PRESETS["stage1-tiny"](), *sizes, "model.encoder.num_frames=2")
    (place / "config.toml").write_text(to_toml(config))
    encoder = build_encoder(config.model.encoder, seed=77)
    save_file(encoder.state_dict(), checkpoint / "encoder.safetensors")
    sizes = {"img_size": 28, "num_frames": 2, "num_heads": 3, "attn_pool_num_heads": 4}
    (checkpoint / "config.json").write_text(json.dumps({"model_config": sizes}))
    return place

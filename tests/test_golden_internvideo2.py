"""InternVideo2's encoders give what the official ones gave of images, in IVN_GOLDEN_INTERNVIDEO2.

The folder here holds, of the instances that are read, the tensors of the vision tower alone; one
with whole instances will do. Tolerances are relative to the reference's largest magnitude.
"""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file

import ivn

HERE = Path(__file__).parent / "golden-internvideo2"
FOLDER = Path(os.environ.get("IVN_GOLDEN_INTERNVIDEO2", HERE))
TOLERANCE = 1e-5


def encoder(name):
    sizes = json.loads((FOLDER / f"{name}.json").read_text())["vision"]
    return ivn.load_encoder(
        FOLDER / f"{name}.weights.safetensors",
        image_size=sizes["img_size"],
        num_frames=sizes["num_frames"],
        num_heads=sizes["num_heads"],
        pool_heads=sizes["attn_pool_num_heads"],
    )


def assert_near(actual, expected):
    error = (actual - expected).abs().max() / expected.abs().max()
    assert actual.shape == expected.shape and error <= TOLERANCE, f"{error:.1e}"


@torch.no_grad()
def test_a_frame_by_itself_has_the_table_of_images_where_there_is_one():
    tower = encoder("iv2_stage2_visual")
    io = load_file(FOLDER / "iv2_stage2_visual_image.io.safetensors")
    # There the clips are [B, T, 3, H, W], and 0 is the cls token.
    video, keep = io["video"].transpose(1, 2), io["visible_index"][:, 1:] - 1
    tokens, cls = tower(video, keep, cls=True)
    assert_near(torch.cat([cls, tokens], dim=1), io["vision_tokens"])
    assert_near(tower.pool(video, keep), io["vision_pooled"])


@torch.no_grad()
def test_a_frame_by_itself_has_the_mean_of_the_table_of_videos_else():
    tower, io = encoder("iv2_clip_large"), load_file(FOLDER / "iv2_clip_large.io.safetensors")
    assert_near(tower.pool(io["image"].transpose(1, 2)), io["image_vision"])

"""Masks and numbers of frames change the tokens that are kept alone: table 4 of the paper."""

import pytest
import torch

from ivn.model.positions import resize_table
from tests.small import random_batch
from tests.stages.variants import S1, S2, Row, assert_changes, build, teacher

pytest.importorskip("transformers")

MASKS = ["semantic_topk", "semantic_sampled", "random", "tube", "frame_difference"]


@pytest.mark.parametrize("mask", MASKS)
def test_stage_two_takes_stage_ones_masks_in_one_view(rows, mask):
    source = teacher("stage.teacher") if mask.startswith("semantic") else []
    row = Row(S2, f"stage.mask={mask}", *source)
    assert row.terms == {"view1"}
    assert row.trained == rows(S2).trained
    assert_changes(row, rows(S2))
    told = row.stage.semantic.look(row.batch)
    assert not told.layers.numel() and bool(told.attention.numel()) == bool(source)
    ours = row.stage.mask(row.batch, told.attention)
    first = build(S1, f"stage.mask={mask}")
    first.encoder.load_state_dict(row.stage.encoder.state_dict())
    batch = random_batch(first)
    batch.clips["student"] = row.batch.clips["student"]
    attention = told.attention if source else first.look(batch).attention
    for a, b in zip(ours, first.mask(batch, attention), strict=True):
        assert torch.equal(a, b)


def test_stage_one_takes_stage_twos_masks(rows):
    row = rows(S1, "stage.mask=multi_block", "stage.blocks.scale=0.3")
    assert (row.terms, row.trained) == (rows(S1).terms, rows(S1).trained)
    assert_changes(row, rows(S1))
    assert row.stage.look(row.batch).attention.numel() == 0
    other = build(S2, "stage.views=[{count = 8, scale = 0.3}]")
    for a, b in zip(row.stage.mask(row.batch), other.mask(row.batch), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("frames", [2, 4, 8])
@pytest.mark.parametrize("preset", [S1, S2])
def test_frames_change_how_many_tokens_there_are_and_nothing_else(rows, preset, frames):
    source = teacher("stage.teacher") if preset == S2 else []
    changes = ["stage.mask=semantic_topk", *source]
    own, row = rows(preset, *changes), rows(preset, *changes, f"stage.frames={frames}")
    assert (row.terms, row.trained) == (own.terms, own.trained)
    specs = row.stage.clip_specs
    assert {name: spec.frames for name, spec in specs.items()} == dict.fromkeys(specs, frames)
    told = row.stage.semantic.look(row.batch)
    visible, masked = row.stage.mask(row.batch, told.attention)
    assert visible.shape[1] == 4 * frames and masked.shape[1] == 12 * frames
    table = row.stage.encoder.pos_embed
    served = row.stage.encoder._positions(table, (frames, 4, 4))
    expected = table[0] if frames == 4 else resize_table(table, (4, 4, 4), (frames, 4, 4))
    torch.testing.assert_close(served, expected)

"""Claims about multi-block masks: counts, unions, packing, and independence of the split."""

import pytest
import torch

from ivn.keys import Purpose, make_keys
from ivn.model.packed import Packed
from ivn.ops.random import integers
from ivn.stages import blocks as module
from ivn.stages.blocks import Blocks

from .test_masks import assert_ascending_and_unique

GRID = (4, 16, 16)
LARGE = Blocks(2, 0.7)
MANY = Blocks(8, 0.15)


def multi_block(blocks, positions, batch, epoch=0, view=0, grid=GRID):
    keys = make_keys(5, epoch, positions)
    return module.multi_block(keys, module.batch_keys(keys, batch), grid, blocks, view=view)


def tubes(index, grid=GRID):
    """Hidden places ``[B, L]`` of an untruncated mask; the same in each frame, or it fails."""
    T, L = grid[0], grid[1] * grid[2]
    hidden = torch.ones(len(index), T * L, dtype=torch.bool).scatter(1, index, False)
    hidden = hidden.view(-1, T, L)
    assert (hidden == hidden[:, :1]).all()
    return hidden[:, 0]


@pytest.mark.parametrize("blocks", [Blocks(1, 0.15, max_keep=1), Blocks(1, 0.7, max_keep=1)])
def test_one_block_hides_one_rectangle_of_the_scale_in_every_frame(blocks):
    for start in range(0, 64, 8):
        hidden = tubes(multi_block(blocks, range(start, start + 8), 8)).view(-1, 16, 16)
        rows, columns = hidden.any(2), hidden.any(1)
        height, width = rows.sum(1), columns.sum(1)
        assert (hidden.sum((1, 2)) == height * width).all()
        assert (height == height[0]).all() and (width == width[0]).all()
        area = int(blocks.scale * 256)
        assert abs(height[0] * width[0] - area) <= (height[0] + width[0]) / 2 + 1
        assert 0.6 < height[0] / width[0] < 1.8


def test_untruncated_multi_block_hides_the_union_of_its_tubes():
    blocks = Blocks(4, 0.15, max_keep=1)
    keys = make_keys(5, 0, [3])
    index = module.multi_block(keys, keys, GRID, blocks)  # alone, nothing truncates it
    size = module._block_size(keys, GRID, blocks, 0)
    corners = integers(keys, Purpose.MASK, 8, 16 - size[0] + 1)[0, ::2]
    lefts = integers(keys, Purpose.MASK, 8, 16 - size[1] + 1)[0, 1::2]
    expected = torch.zeros(16, 16, dtype=torch.bool)
    for top, left in zip(corners.tolist(), lefts.tolist(), strict=True):
        expected[top : top + size[0], left : left + size[1]] = True
    assert torch.equal(tubes(index)[0], expected.flatten())


@pytest.mark.parametrize("truncate", ["prefix", "random"])
@pytest.mark.parametrize("blocks", [MANY, LARGE])
def test_multi_block_keeps_equally_many_and_at_most_the_cap(blocks, truncate):
    blocks = Blocks(blocks.count, blocks.scale, truncate=truncate)
    index = multi_block(blocks, range(16), 16)
    assert_ascending_and_unique(index, 4 * 256)
    assert 0 < index.shape[1] <= int(400 / 2048 * 4 * 256)


def test_prefix_keeps_the_first_in_time_and_random_does_not():
    early = multi_block(Blocks(8, 0.15, truncate="prefix"), range(16), 16)
    spread = multi_block(Blocks(8, 0.15, truncate="random"), range(16), 16)
    assert early.shape == spread.shape
    full = multi_block(Blocks(8, 0.15, max_keep=1, truncate="prefix"), [0], 1)
    assert torch.equal(early[0], full[0, : early.shape[1]])
    assert set(spread[0].tolist()) < set(full[0].tolist())
    assert early[0].max() // 256 < 3 == spread[0].max() // 256


@pytest.mark.parametrize("blocks", [MANY, LARGE, Blocks(2, 0.7, truncate="prefix")])
def test_multi_block_does_not_depend_on_how_the_batch_is_split(blocks):
    whole = multi_block(blocks, range(32, 48), 16)
    halves = [multi_block(blocks, range(32, 40), 16), multi_block(blocks, range(40, 48), 16)]
    assert torch.equal(whole, torch.cat(halves))


def test_block_sizes_restart_only_where_asked():
    def sizes(restart):
        blocks = Blocks(2, 0.7, restart=restart)
        return [module._block_size(make_keys(5, e, [0]), GRID, blocks, 0) for e in range(12)]

    assert len(set(sizes(True))) == 1 and len(set(sizes(False))) > 1


def test_views_are_independent():
    assert not torch.equal(
        multi_block(MANY, range(4), 4, view=0)[:, :100],
        multi_block(MANY, range(4), 4, view=1)[:, :100],
    )


def test_blocks_that_cover_a_frame_are_drawn_again():
    # On 8 x 8 two blocks of 8 x 5 often cover everything.
    for start in range(0, 400, 8):
        index = multi_block(Blocks(2, 0.7, max_keep=1), range(start, start + 8), 8, grid=(2, 8, 8))
        assert index.shape[1] >= 2


def test_blocks_that_always_cover_a_frame_are_an_error():
    with pytest.raises(ValueError, match="cover all of a frame"):
        multi_block(Blocks(1, 1.0, min_aspect=1, max_aspect=1), range(4), 4)


def packed(blocks, positions, batch, view=0):
    keys = make_keys(5, 0, positions)
    whole = module.batch_keys(keys, batch)
    return module.multi_block_packed(keys, whole, GRID, blocks, view=view)


@pytest.mark.parametrize("blocks", [MANY, LARGE])
def test_packed_tokens_are_all_around_and_all_under_the_blocks(blocks):
    visible, masked = packed(blocks, range(8), 8)
    for seen, hidden in zip(rows(visible), rows(masked), strict=True):
        assert_ascending_and_unique(seen[None], 4 * 256)
        assert_ascending_and_unique(hidden[None], 4 * 256)
        assert torch.cat([seen, hidden]).unique().tolist() == list(range(4 * 256))
    assert len(set(visible.lengths)) > 1
    assert sum(visible.lengths) + sum(masked.lengths) == 8 * 4 * 256


def test_packed_tokens_are_those_of_a_sample_that_nothing_truncates():
    keys = make_keys(5, 0, [3])
    visible, _ = module.multi_block_packed(keys, keys, GRID, MANY)
    full = Blocks(MANY.count, MANY.scale, max_keep=1, truncate="prefix")
    assert torch.equal(visible.index[None], module.multi_block(keys, keys, GRID, full))


def test_packed_masks_do_not_depend_on_how_the_batch_is_split():
    whole, _ = packed(LARGE, range(32, 48), 16)
    halves = [packed(LARGE, range(32, 40), 16)[0], packed(LARGE, range(40, 48), 16)[0]]
    assert torch.equal(whole.index, torch.cat([half.index for half in halves]))
    assert whole.lengths == halves[0].lengths + halves[1].lengths


def rows(index: Packed):
    return index.index.split(index.lengths)

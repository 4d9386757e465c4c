"""Claims about the masks: exact counts, exact chances, and dependence on keys alone."""

import itertools

import pytest
import torch
from scipy import stats

from ivn.ops.random import make_keys
from ivn.stages import Blocks, masks

GRID = (4, 16, 16)
LARGE = Blocks(2, 0.7)
MANY = Blocks(8, 0.15)


def inclusion_probabilities(weights: list[float], draws: int) -> torch.Tensor:
    """Chance of each item to be among ``draws`` draws without replacement, by enumeration."""
    chance = torch.zeros(len(weights), dtype=torch.float64)
    for order in itertools.permutations(range(len(weights)), draws):
        probability, left = 1.0, sum(weights)
        for item in order:
            probability *= weights[item] / left
            left -= weights[item]
        chance[list(order)] += probability
    return chance


def assert_ascending_and_unique(index, N):
    assert index.dtype == torch.int64
    assert (index[:, 1:] > index[:, :-1]).all()
    assert index.min() >= 0 and index.max() < N


@pytest.mark.parametrize(
    ("weights", "draws"),
    [([1.0, 2.0, 4.0], 1), ([0.1, 5.0, 1.0, 1.0], 2), ([3.0, 1.0, 0.5, 0.2, 2.0, 0.01], 3)],
)
def test_semantic_sampling_has_the_exact_inclusion_probabilities(weights, draws):
    samples = 40000
    saliency = torch.tensor(weights).expand(samples // 4, 4, -1)
    index = masks.semantic_sampled(saliency, make_keys(1, 0, range(samples // 4)), draws)
    within = (index.view(-1, 4, draws) - torch.arange(4)[:, None] * len(weights)).flatten()
    seen = torch.bincount(within, minlength=len(weights)).double()
    expected = inclusion_probabilities(weights, draws) * samples
    deviation = (seen - expected) / (expected * (1 - expected / samples)).sqrt().clamp_min(1)
    assert deviation.abs().max() < 4.5


def test_a_token_without_weight_is_drawn_last():
    saliency = torch.ones(64, 2, 8)
    saliency[..., 5] = 0
    index = masks.semantic_sampled(saliency, make_keys(0, 0, range(64)), 7)
    assert not (index % 8 == 5).any()


def test_each_frame_keeps_the_same_count():
    saliency = torch.rand(3, 4, 256) ** 4
    for index in (
        masks.semantic_sampled(saliency, make_keys(0, 0, range(3)), 51),
        masks.semantic_topk(saliency, 51),
        masks.random_tokens(make_keys(0, 0, range(3)), GRID, 51),
    ):
        assert_ascending_and_unique(index, 4 * 256)
        assert (index.view(3, 4, 51) // 256 == torch.arange(4)[:, None]).all()


def test_topk_keeps_the_largest_and_the_first_of_equals():
    saliency = torch.tensor([[[0.1, 0.5, 0.2, 0.5, 0.5]]])
    assert masks.semantic_topk(saliency, 2).tolist() == [[1, 3]]


def test_random_tokens_have_uniform_marginals():
    index = masks.random_tokens(make_keys(3, 0, range(2000)), (2, 4, 4), 5)
    counts = torch.bincount(index.flatten(), minlength=32)
    # Without replacement the counts vary less than a multinomial's: a small statistic is expected.
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert counts.sum() == 2000 * 2 * 5


@pytest.mark.parametrize(("tokens", "ratio", "visible"), [(256, 0.75, 64), (256, 0.8, 52)])
def test_visible_per_frame_rounds_as_the_release_does(tokens, ratio, visible):
    assert masks.visible_per_frame(tokens, ratio) == visible


@pytest.mark.parametrize("ratio", [0.0, 0.005, 1.0])
def test_a_ratio_that_leaves_nothing_to_see_or_to_predict_is_refused(ratio):
    with pytest.raises(ValueError, match=f"mask_ratio {ratio} leaves"):
        masks.visible_per_frame(100, ratio)


def multi_block(blocks, positions, batch, epoch=0, view=0, grid=GRID):
    keys = make_keys(5, epoch, positions)
    return masks.multi_block(keys, masks.batch_keys(keys, batch), grid, blocks, view=view)


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
    index = masks.multi_block(keys, keys, GRID, blocks)  # alone, nothing truncates it
    size = masks._block_size(keys, GRID, blocks, 0)
    corners = masks.integers(keys, masks.Purpose.MASK, 8, 16 - size[0] + 1)[0, ::2]
    lefts = masks.integers(keys, masks.Purpose.MASK, 8, 16 - size[1] + 1)[0, 1::2]
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
        return [masks._block_size(make_keys(5, e, [0]), GRID, blocks, 0) for e in range(12)]

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


def test_complement_is_everything_else_in_order():
    index = masks.random_tokens(make_keys(0, 0, range(5)), GRID, 100)
    rest = masks.complement(index, 4 * 256)
    assert_ascending_and_unique(rest, 4 * 256)
    both = torch.cat([index, rest], 1).sort(1).values
    assert torch.equal(both, torch.arange(4 * 256).expand(5, -1))

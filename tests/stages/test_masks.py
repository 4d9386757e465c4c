"""Claims about the masks: exact counts, exact chances, and dependence on keys alone."""

import itertools

import pytest
import torch
from scipy import stats

from ivn.ops.random import make_keys
from ivn.stages import masks

GRID = (4, 16, 16)


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
        masks.tube(make_keys(0, 0, range(3)), GRID, 51),
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


def test_a_tube_shows_the_same_places_in_each_frame_and_others_in_each_clip():
    index = masks.tube(make_keys(3, 0, range(2000)), (3, 4, 4), 5).view(-1, 3, 5)
    places = index - torch.arange(3)[:, None] * 16
    assert (places == places[:, :1]).all()
    counts = torch.bincount(places[:, 0].flatten(), minlength=16)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert len({tuple(row) for row in places[:, 0].tolist()}) > 1000


def test_frame_difference_keeps_what_moves():
    """One place changes in each frame of a still clip: it stays, in the frames where it moves."""
    embeddings = torch.zeros(2, 8, 16, 4)
    moving = torch.tensor([[3, 7, 1, 9, 9, 2, 15, 0], [4, 4, 5, 6, 7, 8, 9, 10]])
    for clip in range(2):
        for t in range(8):
            embeddings[clip, t:, moving[clip, t]] += t + 1
    index = masks.frame_difference(embeddings, 1)
    frames, places = index // 16, index % 16
    # runs of two frames keep two tokens: one in each here, since one changes in each
    assert torch.equal(frames, torch.arange(8).expand(2, -1))
    assert torch.equal(places[:, 1:], moving[:, 1:])
    # the first frame is compared with the second
    assert torch.equal(places[:, 0], moving[:, 1])


def test_frame_difference_shares_a_run_s_tokens_between_its_frames():
    embeddings = torch.zeros(1, 4, 16, 2)
    embeddings[0, 3:, :6] = torch.arange(1.0, 7)[:, None]  # all change is in the last frame
    chosen = masks.frame_difference(embeddings.repeat(1, 1, 1, 1), 3)
    assert chosen[0, -3:].tolist() == [3 * 16 + place for place in (3, 4, 5)]  # runs of one frame
    pairs = masks.frame_difference(
        torch.cat([embeddings, embeddings[:, 3:].repeat(1, 2, 1, 1)], 1), 2
    )
    assert pairs.shape == (1, 12)  # six frames: two runs of three
    assert (pairs[0, 6:] // 16).tolist() == [3] * 6


def test_frame_difference_of_one_frame_is_refused():
    with pytest.raises(ValueError, match="1 frame, expected at least 2"):
        masks.frame_difference(torch.zeros(1, 1, 4, 2), 2)


@pytest.mark.parametrize("ratio", [0.0, 0.005, 1.0])
def test_a_ratio_that_leaves_nothing_to_see_or_to_predict_is_refused(ratio):
    with pytest.raises(ValueError, match=f"mask_ratio {ratio} leaves"):
        masks.visible_per_frame(100, ratio)


def test_complement_is_everything_else_in_order():
    index = masks.random_tokens(make_keys(0, 0, range(5)), GRID, 100)
    rest = masks.complement(index, 4 * 256)
    assert_ascending_and_unique(rest, 4 * 256)
    both = torch.cat([index, rest], 1).sort(1).values
    assert torch.equal(both, torch.arange(4 * 256).expand(5, -1))

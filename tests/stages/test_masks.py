"""Claims about the masks: exact counts, exact chances, and dependence on keys alone."""

import pytest
import torch

from ivn.keys import make_keys
from ivn.ops.masking import sample_tokens, top_tokens
from ivn.stages import masks

GRID = (4, 16, 16)


def assert_ascending_and_unique(index, N):
    assert index.dtype == torch.int64
    assert (index[:, 1:] > index[:, :-1]).all()
    assert index.min() >= 0 and index.max() < N


def test_each_frame_keeps_the_same_count():
    saliency = torch.rand(3, 4, 256) ** 4
    for index in (
        sample_tokens(saliency, make_keys(0, 0, range(3)), 51),
        top_tokens(saliency, 51),
        masks.evenly(make_keys(0, 0, range(3)), GRID, 51),
        masks.tube(make_keys(0, 0, range(3)), GRID, 51),
    ):
        assert_ascending_and_unique(index, 4 * 256)
        assert (index.view(3, 4, 51) // 256 == torch.arange(4)[:, None]).all()


def test_random_tokens_have_uniform_marginals():
    index = masks.evenly(make_keys(3, 0, range(2000)), (2, 4, 4), 5)
    counts = torch.bincount(index.flatten(), minlength=32)
    # Without replacement the counts vary less than a multinomial's: a small statistic is expected.
    stats = pytest.importorskip("scipy.stats")
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
    stats = pytest.importorskip("scipy.stats")
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

"""The demo's picture: patches land where they belong, features get colours that mean something."""

from dataclasses import replace

import numpy as np
import pytest

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.report.draw.picture import (
    MASKED,
    ClipView,
    clip_rows,
    demo_picture,
    grey_out,
    paste_patches,
    pca_colours,
)

P = 14


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_frames(rng, T=2, H=28, W=42):
    return rng.integers(0, 256, (T, H, W, 3), dtype=np.uint8)


def true_rows(frames, index):
    """Patches as the decoder predicts them, cut out one by one."""
    H, W = frames.shape[1:3]
    rows = []
    for i in index:
        t, place = divmod(int(i), (H // P) * (W // P))
        y, x = P * (place // (W // P)), P * (place % (W // P))
        pixels = frames[t, y : y + P, x : x + P] / 255.0
        rows.append(((pixels - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1).ravel())
    return np.array(rows, np.float32).reshape(-1, 3 * P * P)


def view(frames, rng, *, title="a clip", names=("stage 1", "teacher")):
    N = len(frames) * (frames.shape[1] // P) * (frames.shape[2] // P)
    index = rng.permutation(N)
    visible, predicted = np.sort(index[: N // 4]), np.sort(index[N // 4 :])
    features = {name: rng.normal(size=(N, 8)).astype(np.float32) for name in names}
    return ClipView(title, frames, visible, predicted, true_rows(frames, predicted), features)


def locate(picture, tile):
    """Left and top of the only place where ``tile`` stands in ``picture``."""
    places = []
    for y in range(len(picture) - len(tile) + 1):
        x, odd = divmod(picture[y].tobytes().find(tile[0].tobytes()), 3)
        if x >= 0 and not odd:
            there = picture[y : y + tile.shape[0], x : x + tile.shape[1]]
            places += [(x, y)] if np.array_equal(there, tile) else []
    assert len(places) == 1
    return places[0]


def test_true_patches_pasted_on_grey_give_the_frames_back(rng):
    frames = random_frames(rng)
    clip = view(frames, rng)
    seen = grey_out(frames, clip.visible_index, patch_size=P)
    whole = paste_patches(seen, clip.predicted, clip.predicted_index, patch_size=P)
    assert not np.array_equal(seen, frames)
    np.testing.assert_array_equal(whole, frames)
    np.testing.assert_array_equal(clip_rows(clip)[2], frames)


def test_a_masked_patch_is_grey_and_a_visible_one_untouched(rng):
    frames = random_frames(rng, T=2, H=28, W=42)
    seen = grey_out(frames, np.array([4, 6]), patch_size=P)
    expected = np.full_like(frames, MASKED)
    expected[0, 14:28, 14:28] = frames[0, 14:28, 14:28]
    expected[1, 0:14, 0:14] = frames[1, 0:14, 0:14]
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("side", [14, 28])
def test_arguments_are_left_as_they_were(rng, side):
    frames = random_frames(rng, T=2, H=side, W=side)
    before = frames.copy()
    drawn = paste_patches(frames, np.zeros((1, 588)), np.array([1]), patch_size=P)
    assert not np.array_equal(drawn, before)
    np.testing.assert_array_equal(frames, before)


def test_predictions_beyond_black_and_white_do_not_wrap_around(rng):
    frames = random_frames(rng, T=1, H=14, W=28)
    rows = np.stack([np.full(588, 1e3), np.full(588, -1e3)])
    drawn = paste_patches(frames, rows, np.array([0, 1]), patch_size=P)
    assert (drawn[:, :, :14] == 255).all() and (drawn[:, :, 14:] == 0).all()


def test_colours_separate_clusters(rng):
    centres = np.repeat(10 * rng.normal(size=(2, 16)), [30, 50], axis=0)
    colours = pca_colours(centres + 0.1 * rng.normal(size=centres.shape)).astype(int)
    first, second = colours[:30, 0], colours[30:, 0]
    assert abs(first.mean() - second.mean()) > 200
    assert first.std() < 10 and second.std() < 10


def test_colours_do_not_change_under_rotation_shift_and_scale(rng):
    tokens = rng.normal(size=(200, 12)) * np.linspace(4, 1, 12)
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    moved = 3 * tokens @ rotation + 5
    difference = pca_colours(moved).astype(int) - pca_colours(tokens)
    assert abs(difference).max() <= 1
    assert pca_colours(tokens).std(0).min() > 30


def test_components_without_variance_are_grey(rng):
    line = np.outer(rng.normal(size=50), rng.normal(size=8)).astype(np.float32)
    colours = pca_colours(line)
    assert colours[:, 0].std() > 30 and (colours[:, 1:] == 128).all()
    assert (pca_colours(np.full((9, 4), 0.1, np.float32)) == 128).all()
    assert (pca_colours(rng.normal(size=(50, 1)))[:, 1:] == 128).all()


def test_every_row_of_every_clip_stands_in_its_place(rng):
    clips = [view(random_frames(rng, T=5), rng, title=f"clip {i}") for i in range(3)]
    clips = [replace(clip, predicted=0.5 * clip.predicted) for clip in clips]
    picture = np.asarray(demo_picture(clips, title="title", num_frames=3, side=28))
    places = {
        (i, row, t): locate(picture, pixels[t])
        for i, clip in enumerate(clips)
        for row, pixels in enumerate(clip_rows(clip)[0:3:2])
        for t in (0, 2, 4)
    }
    for (i, row, t), (x, y) in places.items():
        assert places[i, 0, t][0] == x and places[i, row, 0][1] == y
        if t:
            assert x > places[i, row, t - 2][0] + 42
        if row:
            assert y > places[i, 0, t][1] + 2 * 28
    for i in (1, 2):
        assert places[i, 0, 0][1] == places[0, 0, 0][1]
        assert places[i, 0, 0][0] > places[i - 1, 0, 4][0] + 42


def test_features_are_drawn_as_blocks_of_one_colour(rng):
    clip = view(random_frames(rng, T=1), rng, names=("teacher",))
    picture = np.asarray(demo_picture([clip], title="title", side=28))
    block = np.kron(clip_rows(clip)[3][0], np.ones((14, 14, 1), np.uint8))
    locate(picture, block)


def test_long_names_stay_inside_their_place(rng):
    clips = [view(random_frames(rng), rng, title=letter * 99) for letter in "ab"]
    clips = [replace(clip, predicted=0.5 * clip.predicted) for clip in clips]
    picture = np.asarray(demo_picture(clips, title="t", side=28))
    second, _ = locate(picture, clips[1].frames[0])
    assert (picture[:, second - 24 : second] == 255).all()
    label = "a long name of features"
    longer = [replace(clip, features={label: clip.features["teacher"]}) for clip in clips]
    assert locate(np.asarray(demo_picture(longer, title="t", side=28)), clips[0].frames[0])[0] > 150
    wide = np.asarray(demo_picture(clips, title="t" * 200, side=28))
    assert wide.shape[1] > picture.shape[1] and (wide[:, -20:] == 255).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: dict(features={"a": c.features["teacher"][1:]}),
            r"'a' of 'a clip' are \[11, 8\]",
        ),
        (lambda c: dict(predicted=c.predicted[:, 1:]), r"rows are \[9, 587\], expected \[9, 588\]"),
        (lambda c: dict(frames=c.frames[:, :-1]), "27 x 42 pixels, expected multiples of 14"),
        (lambda c: dict(frames=c.frames / 255), "expected uint8"),
        (lambda c: dict(features={"a": c.features["teacher"] * np.nan}), "not all finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rng, change, message):
    clip = view(random_frames(rng), rng)
    with pytest.raises(ValueError, match=message):
        clip_rows(replace(clip, **change(clip)))


def test_clips_with_other_rows_are_refused(rng):
    frames = random_frames(rng)
    clips = [view(frames, rng), view(frames, rng, names=("teacher",))]
    with pytest.raises(ValueError, match="the same names"):
        demo_picture(clips, title="title")
    with pytest.raises(ValueError, match="at least one"):
        demo_picture([], title="title")

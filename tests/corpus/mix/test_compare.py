import itertools
from fractions import Fraction

import numpy as np
import pytest

from ivn.corpus.mix.compare import same_content
from ivn.errors import DecodeError
from ivn.media.source import Source
from tests.corpus.mix.copies import encoded_anew
from tests.media.videos import BUNDLED, write_video

SCENES = ("asl-book", "classroom", "nasa")
LONG = [next(clip for clip in BUNDLED if clip.stem == name) for name in SCENES]


def same(one, other):
    return same_content((Source(str(one)), Source(str(other))))


@pytest.mark.parametrize("clip", LONG, ids=lambda clip: clip.name)
def test_a_copy_is_the_same_in_whatever_encoding_size_and_name(tmp_path, clip):
    small = encoded_anew(clip, tmp_path / "small.mp4", scale=0.5, crf=36)
    other = encoded_anew(clip, tmp_path / "other.webm", codec="libvpx-vp9", crf=40)
    assert same(clip, small) and same(small, clip) and same(other, small)


@pytest.mark.parametrize("clip", LONG, ids=lambda clip: clip.name)
def test_a_cut_is_found_in_the_whole_at_whatever_moment_it_starts(tmp_path, clip):
    whole = encoded_anew(clip, tmp_path / "whole.mkv", codec="ffv1")
    cut = encoded_anew(clip, tmp_path / "cut.mp4", scale=0.6, start=0.37, end=1.71)
    assert same(cut, clip) and same(whole, cut)
    part = Source(str(clip), start=0.37, end=1.71)
    assert same_content((part, Source(str(cut))))


def test_other_scenes_are_not_the_same():
    scenes = {clip.stem.rsplit("_", 1)[0]: clip for clip in BUNDLED}
    for one, other in itertools.combinations(list(scenes.values())[:8], 2):
        assert not same(one, other), (one, other)


def moving(places, noise=0):
    """Frames of one room, in which a bright square goes from place to place."""
    random = np.random.default_rng(0)
    room = np.kron(random.integers(20, 200, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = np.stack([room] * len(places))
    for frame, x in zip(frames, places, strict=True):
        frame[20:26, x : x + 6] = 200
    shaken = frames + np.random.default_rng(noise).normal(0, 3 * bool(noise), frames.shape)
    return shaken.clip(0, 255).astype(np.uint8)


def test_another_movement_in_the_same_room_is_another_clip(tmp_path):
    there = write_video(tmp_path / "a.mkv", moving(range(0, 40, 2)))
    noisy = write_video(tmp_path / "b.mkv", moving(range(0, 40, 2), noise=1))
    back = write_video(tmp_path / "c.mkv", moving(range(40, 0, -2)))
    still = write_video(tmp_path / "d.mkv", moving([0] * 20))
    also = write_video(tmp_path / "e.mkv", moving([0] * 20, noise=2))
    assert same(there, noisy) and same(still, also)
    assert not same(there, back) and not same(there, still)


def test_a_copy_of_fewer_frames_is_found_where_everything_moves(tmp_path):
    """A camera turns, and the copies' pictures come at other times than the original's."""
    blocks = np.random.default_rng(0).integers(0, 256, (6, 20, 3))
    wall = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
    frames = np.stack([wall[:, 3 * n : 3 * n + 64] for n in range(24)])
    rate = Fraction(35, 2)
    whole = write_video(tmp_path / "whole.mkv", frames, rate=rate)
    back = write_video(tmp_path / "back.mkv", frames[::-1], rate=rate)
    for first in (0, 1):
        fewer = tmp_path / f"{first}.mkv"
        assert same(whole, write_video(fewer, frames[first::2], rate=rate / 2))
    assert not same(whole, back)


def test_one_frame_is_compared_by_its_looks(tmp_path):
    one = write_video(tmp_path / "a.mkv", moving([3]))
    two = write_video(tmp_path / "b.mkv", moving([3], noise=1))
    other = write_video(tmp_path / "c.mkv", 255 - moving([3]))
    assert same(one, two) and not same(one, other)
    black = write_video(tmp_path / "d.mkv", np.zeros((5, 48, 64, 3), np.uint8))
    assert not same(black, one)


def test_what_cannot_be_decoded_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"a\.mp4"):
        same(tmp_path / "a.mp4", BUNDLED[0])

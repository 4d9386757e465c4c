import numpy as np
import pytest
import torch

from ivn.corpus.mix.phash import (
    BITS,
    FRAMES,
    frame_hashes,
    from_text,
    hashed_frame_numbers,
    thumbnails,
    to_text,
)
from ivn.errors import DataError
from ivn.media.decode import decode
from tests.corpus.mix.copies import encoded_anew
from tests.media.videos import BUNDLED

PICTURE = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (1, 9, 12, 3), np.uint8))


def bits_apart(one, other):
    return [bin(a ^ b).count("1") for a, b in zip(one, other, strict=True)]


def test_key_frames_are_the_middles_of_equal_parts():
    assert hashed_frame_numbers(80) == [5, 15, 25, 35, 45, 55, 65, 75]
    assert hashed_frame_numbers(1) == [0] * FRAMES
    assert hashed_frame_numbers(3) == [0, 0, 0, 1, 1, 2, 2, 2]


def test_the_bits_are_those_of_the_cosine_transform_by_its_definition():
    big = torch.nn.functional.interpolate(PICTURE.permute(0, 3, 1, 2).float(), (64, 96))
    frame = big.permute(0, 2, 3, 1).to(torch.uint8)
    grey = thumbnails(frame, 32)[0].astype(np.float64)
    waves = [
        sum(
            grey[y, x] * np.cos(np.pi * (2 * y + 1) * k / 64) * np.cos(np.pi * (2 * x + 1) * m / 64)
            for y in range(32)
            for x in range(32)
        )
        for k in range(8)
        for m in range(8)
    ][1:]
    middle = np.median(waves)
    expected = sum(1 << n for n, wave in enumerate(waves) if wave > middle)
    assert frame_hashes(frame) == [expected]


def test_a_mean_and_a_size_change_nothing_and_another_picture_half_of_the_bits():
    def scaled(size):
        frame = torch.nn.functional.interpolate(PICTURE.permute(0, 3, 1, 2).float(), size)
        return frame.permute(0, 2, 3, 1).to(torch.uint8)

    small, large = frame_hashes(scaled((90, 120))), frame_hashes(scaled((180, 240)))
    dark = frame_hashes(scaled((90, 120)) // 2)
    assert max(bits_apart(small, large) + bits_apart(small, dark)) <= 2
    turned = frame_hashes(scaled((90, 120)).flip(1))
    assert 16 < bits_apart(small, turned)[0] < 48


def test_blank_frames_do_not_count():
    grey = torch.full((2, 40, 50, 3), 17, dtype=torch.uint8)
    grey[1, :, :2] = 40
    assert frame_hashes(grey) == [None, None]
    assert frame_hashes(torch.cat([PICTURE, PICTURE * 0])) == [*frame_hashes(PICTURE), None]


def test_text_is_read_back_and_other_text_refused():
    hashes = [0, (1 << BITS) - 1, None, 5, None, 7, 8, 9]
    text = to_text(hashes)
    assert text.startswith("0000000000000000 7fffffffffffffff - 0000000000000005 - ")
    assert from_text(text) == hashes
    for wrong in ("", "zz", text[:-17], text.replace("7f", "ff", 1), "sha256:00"):
        with pytest.raises(DataError, match="expected 8 times 16 digits or -"):
            from_text(wrong)


def test_a_bad_small_copy_differs_in_few_bits_and_another_scene_in_many(tmp_path):
    by_scene = {}
    for clip in BUNDLED:
        frames = decode(clip, hashed_frame_numbers)
        by_scene[clip.stem] = frame_hashes(frames)
    clip = next(c for c in BUNDLED if c.suffix == ".mp4")
    copy = encoded_anew(clip, tmp_path / "copy.mp4", scale=0.5, crf=38)
    again = frame_hashes(decode(copy, hashed_frame_numbers))
    assert max(bits_apart(again, by_scene[clip.stem])) <= 8

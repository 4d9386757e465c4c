import time

import numpy as np
import pytest

from ivn.corpus.mix.near import candidates
from ivn.corpus.mix.phash import BITS, FRAMES, as_arrays, to_text

RANDOM = np.random.default_rng(5)


def clips(count, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << BITS, (count, FRAMES), np.uint64).tolist()


def flipped(value, bits, seed):
    for bit in np.random.default_rng(seed).choice(BITS, bits, replace=False):
        value ^= 1 << int(bit)
    return value


def found(hashes):
    pairs = candidates(*as_arrays(map(to_text, hashes)))
    return [tuple(pair) for pair in pairs.tolist()]


def test_nothing_is_found_where_nothing_is():
    assert found([]) == found(clips(1)) == []
    assert found(clips(2000)) == []


@pytest.mark.parametrize("bits", [0, 2, 4])
def test_a_copy_with_some_bits_changed_in_each_frame_is_found(bits):
    hashes = clips(500)
    hashes.append([flipped(value, bits, n) for n, value in enumerate(hashes[123])])
    assert found(hashes) == [(123, 500)]


def test_more_bits_than_an_encoding_changes_are_another_clip():
    """All in one band, so that the others agree."""
    for bits, expected in ((8, [(123, 500)]), (9, [])):
        hashes = clips(500)
        hashes.append([value ^ ((1 << bits) - 1) for value in hashes[123]])
        assert found(hashes) == expected


def test_frames_may_be_at_other_places_and_two_are_needed():
    hashes = clips(50)
    hashes.append([*clips(1, 9)[0][:6], hashes[7][0], hashes[7][5]])
    hashes.append([*clips(1, 8)[0][:7], hashes[9][3]])
    assert found(hashes) == [(7, 50)]


def test_blank_frames_and_frames_shown_twice_do_not_count():
    blank, still = [None] * FRAMES, 0x123456789ABCDEF
    hashes = [blank, blank, [still, *[None] * 7], [still] * 8, *clips(20)]
    hashes[4][0] = hashes[5][0] = still
    hashes[6] = [still, *[None] * 6, hashes[4][1]]
    # One that has but one frame is like all that have it.
    assert found(hashes) == [(2, 3), (2, 4), (2, 5), (2, 6), (3, 4), (3, 5), (3, 6), (4, 6)]


def test_what_thousands_show_does_not_cost_their_number_squared():
    title = 0x0F0F0F0F0F0F0F0
    hashes = [[title, *rest[1:]] for rest in clips(20_000)]
    hashes.append(list(hashes[77]))
    start = time.process_time()
    assert found(hashes) == [(77, 20_000)]
    assert time.process_time() - start < 10


@pytest.mark.soak
def test_a_million_clips_take_seconds():
    hashes = RANDOM.integers(0, 1 << BITS, (1_000_000, FRAMES), np.uint64)
    copies = RANDOM.choice(500_000, 1000, replace=False)
    hashes[-1000:] = hashes[copies] ^ np.uint64(1 << 40 | 1 << 3)
    start = time.process_time()
    pairs = candidates(hashes, np.ones_like(hashes, bool))
    assert time.process_time() - start < 180
    assert {tuple(pair) for pair in pairs.tolist()} == {
        (int(copy), 999_000 + n) for n, copy in enumerate(copies)
    }

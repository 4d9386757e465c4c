import pytest
import torch

from ivn.ops.random import (
    Purpose,
    integers,
    make_keys,
    normal,
    philox4x32,
    random_words,
    uniform,
)

stats = pytest.importorskip("scipy.stats")

ONES = 0xFFFFFFFF
# Known answers of philox4x32-10, published with the Random123 library.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter, key, expected):
    def tensors(words):
        return tuple(torch.tensor([word]) for word in words)

    words = philox4x32(tensors(counter), tensors(key))
    assert tuple(word.item() for word in words) == expected


def test_words_do_not_depend_on_the_batch_or_the_count():
    together = random_words(make_keys(7, 3, range(10)), Purpose.MASK, 100)
    alone = random_words(make_keys(7, 3, [6]), Purpose.MASK, 33)
    assert torch.equal(together[6:7, :33], alone)


@pytest.mark.parametrize(
    "other",
    [
        random_words(make_keys(8, 3, [6]), Purpose.MASK, 64),
        random_words(make_keys(7 + 2**32, 3, [6]), Purpose.MASK, 64),
        random_words(make_keys(7, 4, [6]), Purpose.MASK, 64),
        random_words(make_keys(7, 3, [5]), Purpose.MASK, 64),
        random_words(make_keys(7, 3, [6], repeat=1), Purpose.MASK, 64),
        random_words(make_keys(7, 3, [6]), Purpose.NOISE, 64),
        random_words(make_keys(7, 3, [6]), Purpose.MASK, 64, layer=1),
    ],
    ids=["seed", "high-seed", "epoch", "position", "repeat", "purpose", "layer"],
)
def test_every_part_of_the_key_changes_the_words(other):
    words = random_words(make_keys(7, 3, [6]), Purpose.MASK, 64)
    assert (words == other).sum() == 0


def test_uniform_and_normal_follow_their_distributions():
    keys = make_keys(0, 0, range(50))
    for dtype in (torch.float32, torch.float64):
        u = uniform(keys, Purpose.NOISE, 2001, dtype=dtype)
        assert u.min() > 0 and u.max() < 1 and u.dtype == dtype
        assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3
        z = normal(keys, Purpose.NOISE, 2001, dtype=dtype)
        assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3


def test_integers_cover_their_range_evenly():
    drawn = integers(make_keys(0, 0, range(100)), Purpose.TIMESTEP, 1000, 7).flatten()
    counts = torch.bincount(drawn, minlength=7)
    assert len(counts) == 7 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_wrong_keys_are_refused():
    with pytest.raises(ValueError, match=r"keys is torch.int64 \[2, 3\], expected int64 \[B, 4\]"):
        random_words(torch.zeros(2, 3, dtype=torch.int64), Purpose.MASK, 1)
    with pytest.raises(ValueError, match="epoch -1"):
        make_keys(0, -1, [0])

import pytest
import torch

from ivn.keys import Purpose, make_keys
from ivn.ops.random import (
    integers,
    normal,
    normal_reference,
    philox4x32,
    random_words,
    random_words_reference,
    uniform,
)
from tests.capture import assert_captured

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


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 255, 256, 257, 2001])
def test_words_are_those_of_the_reference(count, device):
    keys = make_keys(2**61 + 5, 2**24 - 1, [0, 1, 2**32 - 1], repeat=255).to(device)
    words = random_words(keys, Purpose.MASK, count, layer=2**24 - 1)
    expected = random_words_reference(keys, count, Purpose.MASK << 24 | 2**24 - 1)
    assert words.dtype == torch.int64 and torch.equal(words, expected)


def test_words_pass_opcheck_and_compile(device):
    keys = make_keys(7, 3, range(2)).to(device)
    torch.library.opcheck(torch.ops.ivn.random_words.default, (keys, 7, 9 << 24))
    draw = torch.compile(
        lambda k: random_words(k, Purpose.NOISE, 9), fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(draw(keys), random_words(keys, Purpose.NOISE, 9))


@pytest.mark.gpu
def test_draws_are_captured_in_a_cuda_graph():
    keys = make_keys(7, 3, range(2)).cuda()
    assert_captured(
        lambda: [random_words(keys, Purpose.MASK, 99), normal(keys, Purpose.NOISE, 99)], [keys]
    )


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
    stats = pytest.importorskip("scipy.stats")
    keys = make_keys(0, 0, range(50))
    for dtype in (torch.float32, torch.float64):
        u = uniform(keys, Purpose.NOISE, 2001, dtype=dtype)
        assert u.min() > 0 and u.max() < 1 and u.dtype == dtype
        assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3
        z = normal(keys, Purpose.NOISE, 2001, dtype=dtype)
        assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 4e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 50001])
def test_normal_numbers_are_the_reference_s_to_rounding(count, dtype, atol, device):
    keys = make_keys(2**61 + 5, 3, range(3)).to(device)
    ours = normal(keys, Purpose.NOISE, count, layer=5, dtype=dtype)
    expected = normal_reference(keys, count, Purpose.NOISE << 24 | 5, dtype)
    assert ours.dtype == dtype and ours.shape == (3, count)
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


def test_normal_numbers_reach_their_tails():
    """The largest of a million lies near 4.9; a lost bit of a word would cut it."""
    z = normal(make_keys(0, 0, [0]), Purpose.NOISE, 1_000_000)
    assert 4.4 < z.max() < 5.8 and -5.8 < z.min() < -4.4


def test_normal_numbers_do_not_depend_on_the_batch_or_the_count():
    together = normal(make_keys(7, 3, range(10)), Purpose.NOISE, 1000)
    assert torch.equal(together[6:7, :333], normal(make_keys(7, 3, [6]), Purpose.NOISE, 333))


def test_normal_passes_opcheck_and_compiles(device):
    keys = make_keys(7, 3, range(2)).to(device)
    torch.library.opcheck(torch.ops.ivn.normal.default, (keys, 7, 9 << 24, torch.float32))
    draw = torch.compile(lambda k: normal(k, Purpose.NOISE, 9), fullgraph=True, backend="aot_eager")
    assert torch.equal(draw(keys), normal(keys, Purpose.NOISE, 9))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_the_same_bits_on_both_devices(dtype):
    keys = make_keys(5, 3, range(7))
    here = normal(keys, Purpose.NOISE, 100_001, dtype=dtype)
    there = normal(keys.cuda(), Purpose.NOISE, 100_001, dtype=dtype)
    assert torch.equal(here, there.cpu())


def test_normal_numbers_of_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"normal: dtype is torch.bfloat16, expected fp32 or fp64"):
        normal(make_keys(0, 0, [0]), Purpose.NOISE, 4, dtype=torch.bfloat16)


def test_integers_cover_their_range_evenly():
    stats = pytest.importorskip("scipy.stats")
    drawn = integers(make_keys(0, 0, range(100)), Purpose.TIMESTEP, 1000, 7).flatten()
    counts = torch.bincount(drawn, minlength=7)
    assert len(counts) == 7 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_wrong_keys_are_refused():
    with pytest.raises(
        ValueError, match=r"random_words: keys is torch.int64 \[2, 3\], expected int64 \[B, 4\]"
    ):
        random_words(torch.zeros(2, 3, dtype=torch.int64), Purpose.MASK, 1)
    with pytest.raises(ValueError, match="random_words: count is -1"):
        random_words(make_keys(0, 0, [0]), Purpose.MASK, -1)
    with pytest.raises(ValueError, match="make_keys: seed 0, epoch -1"):
        make_keys(0, -1, [0])

"""Masks as indices: the reference's to the bit, exact chances and counts, and what is refused."""

import itertools

import pytest
import torch

from ivn.keys import make_keys
from ivn.ops import masking
from ivn.ops.masking import (
    first_open_tokens,
    hide_blocks,
    other_tokens,
    random_open_tokens,
    sample_tokens,
    top_tokens,
)
from tests.capture import assert_captured

SHAPES = [
    pytest.param((16, 4, 256), 51, id="preset"),
    pytest.param((3, 3, 7), 3, id="odd"),
    pytest.param((2, 2, 1369), 400, id="large frames"),
    pytest.param((1, 1, 1), 1, id="smallest"),
    pytest.param((2, 5, 33), 33, id="all"),
    pytest.param((2, 5, 33), 0, id="none"),
    pytest.param((0, 5, 33), 4, id="no clips"),
    pytest.param((2, 0, 33), 4, id="no frames"),
]
BLOCKS = [
    pytest.param((16, 16), dict(count=8, height=6, width=6), id="many"),
    pytest.param((16, 16), dict(count=2, height=12, width=14), id="large"),
    pytest.param((8, 8), dict(count=2, height=8, width=5), id="often all"),
    pytest.param((5, 9), dict(count=3, height=1, width=2), id="odd"),
    pytest.param((4, 4), dict(count=0, height=1, width=1), id="none"),
]


def keys_of(count, device="cpu", seed=2**62 + 12345, epoch=3):
    return make_keys(seed, epoch, range(count)).to(device)


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


@pytest.mark.parametrize(
    ("weights", "draws"),
    [([1.0, 2.0, 4.0], 1), ([0.1, 5.0, 1.0, 1.0], 2), ([3.0, 1.0, 0.5, 0.2, 2.0, 0.01], 3)],
)
def test_sampling_has_the_exact_inclusion_probabilities(weights, draws):
    samples = 40000
    saliency = torch.tensor(weights).expand(samples // 4, 4, -1)
    index = sample_tokens(saliency, make_keys(1, 0, range(samples // 4)), draws)
    within = (index.view(-1, 4, draws) - torch.arange(4)[:, None] * len(weights)).flatten()
    seen = torch.bincount(within, minlength=len(weights)).double()
    expected = inclusion_probabilities(weights, draws) * samples
    deviation = (seen - expected) / (expected * (1 - expected / samples)).sqrt().clamp_min(1)
    assert deviation.abs().max() < 4.5


def test_topk_keeps_the_largest_and_the_first_of_equals():
    saliency = torch.tensor([[[0.1, 0.5, 0.2, 0.5, 0.5]]])
    assert top_tokens(saliency, 2).tolist() == [[1, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "kept"), SHAPES)
def test_sampled_and_top_tokens_are_the_reference_s(shape, kept, dtype, device):
    weights = torch.rand(shape, dtype=dtype, device=device) + 1e-6
    keys = keys_of(shape[0], device)
    for ours, drawn in [
        (sample_tokens(weights, keys, kept), True),
        (top_tokens(weights, kept), False),
    ]:
        expected = masking.sample_tokens_reference(weights, keys, kept, drawn)
        assert torch.equal(ours, expected)


@pytest.mark.parametrize(("frame", "blocks"), BLOCKS)
def test_hidden_places_and_open_tokens_are_the_reference_s(frame, blocks, device):
    keys = keys_of(300, device)
    hidden = hide_blocks(keys, *frame, **blocks, view=2)
    assert torch.equal(
        hidden, masking.hide_blocks_reference(keys, *frame, *blocks.values(), 2).bool()
    )
    assert not hidden.all(1).any()
    kept = int((~hidden).sum(1).min()) * 3 - 1
    for ours, shuffled in [
        (random_open_tokens(hidden, keys, 3, kept, view=5), True),
        (first_open_tokens(hidden, 3, kept), False),
    ]:
        assert torch.equal(ours, masking.open_tokens_reference(hidden, keys, 3, kept, shuffled, 5))
        others = other_tokens(ours, 3 * frame[0] * frame[1])
        assert torch.equal(others, masking.other_tokens_reference(ours, 3 * frame[0] * frame[1]))


def test_words_that_are_equal_keep_the_first(device):
    """With one word a token, and many tokens, some words are equal: once in 2**32 / N**2 / 2."""
    hidden = torch.zeros(64, 4096, dtype=torch.bool, device=device)
    keys = keys_of(64, device)
    ours = random_open_tokens(hidden, keys, 8, 16384)
    assert torch.equal(ours, masking.open_tokens_reference(hidden, keys, 8, 16384, True, 0))


def test_draws_of_other_views_and_keys_are_others(device):
    keys = keys_of(2, device)
    hidden = torch.zeros(2, 64, dtype=torch.bool, device=device)
    one, other = (random_open_tokens(hidden, keys, 2, 20, view=view) for view in (0, 1))
    assert not torch.equal(one, other) and not torch.equal(one[0], one[1])


def test_the_logarithm_is_right_to_the_last_places():
    """Seen through the race: two tokens arrive in the order of -log(u) / w in fp64."""
    keys = keys_of(20000)
    weights = torch.rand(20000, 1, 2, dtype=torch.float64) + 0.1
    expected = masking.sample_tokens_reference(weights, keys, 1, True)
    assert torch.equal(sample_tokens(weights, keys, 1), expected)


def test_a_frame_without_enough_weights_is_named():
    weights = torch.ones(3, 4, 8)
    weights[1, 2, 3:] = 0
    keys = keys_of(3)
    assert sample_tokens(weights, keys, 3)[1].view(4, 3)[2].tolist() == [16, 17, 18]
    with pytest.raises(ValueError, match="frame 2 of clip 1 has 3 weights above 0, expected at"):
        sample_tokens(weights, keys, 4)


def test_weights_that_are_none_are_refused():
    weights = torch.ones(1, 2, 64)
    weights[0, 1, 2] = -1.0
    with pytest.raises(ValueError, match="weights hold numbers below 0"):
        sample_tokens(weights, keys_of(1), 2)
    assert top_tokens(weights, 2).tolist() == [[0, 1, 64, 65]]
    weights[0, 1, ::3] = torch.nan
    for ask in (lambda: sample_tokens(weights, keys_of(1), 2), lambda: top_tokens(weights, 2)):
        with pytest.raises(ValueError, match="weights hold NaN"):
            ask()


REFUSED = {
    "integer weights": (lambda k: sample_tokens(torch.ones(2, 3, 4).long(), k, 1), "fp32 or fp64"),
    "half weights": (lambda k: top_tokens(torch.ones(2, 3, 4).half(), 1), "fp32 or fp64"),
    "flat weights": (lambda k: top_tokens(torch.ones(2, 4), 1), r"\[B, T, L\]"),
    "too many": (
        lambda k: top_tokens(torch.ones(2, 3, 4), 5),
        "top_tokens: 5 tokens to keep, expected 0",
    ),
    "negative": (lambda k: top_tokens(torch.ones(2, 3, 4), -1), "-1 tokens to keep"),
    "other keys": (lambda k: sample_tokens(torch.ones(3, 3, 4), k, 1), r"expected int64 \[3, 4\]"),
    "float keys": (lambda k: sample_tokens(torch.ones(2, 3, 4), k.float(), 1), "keys is"),
    "large block": (lambda k: hide_blocks(k, 4, 4, count=1, height=5, width=1), "that fit inside"),
    "more than open": (lambda k: first_open_tokens(torch.ones(2, 4) > 0, 3, 1), "only 0 open"),
    "hidden bytes": (lambda k: first_open_tokens(torch.ones(2, 4).byte(), 3, 1), "expected bool"),
    "outside": (
        lambda k: other_tokens(torch.tensor([[0, 4]]), 4),
        r"other_tokens: index\[0\] holds 4, expected 0 to 3",
    ),
    "twice": (lambda k: other_tokens(torch.tensor([[2, 2]]), 4), r"index\[0\] holds 2 twice"),
    "longer": (lambda k: other_tokens(torch.zeros(1, 5).long(), 4), "M <= 4"),
}


@pytest.mark.parametrize(("ask", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask(keys_of(2))


OPS = {
    "sample_tokens": lambda k: (torch.rand(3, 4, 16, device=k.device) + 0.1, k, 5, True),
    "hide_blocks": lambda k: (k, 4, 5, 2, 2, 3, 1),
    "open_tokens": lambda k: (torch.zeros(3, 9, device=k.device).byte(), k, 2, 7, True, 1),
    "other_tokens": lambda k: (torch.tensor([[0, 4, 6]] * 3, device=k.device), 11),
}


@pytest.mark.parametrize("name", OPS)
def test_opcheck(name, device):
    arguments = OPS[name](keys_of(3, device))
    torch.library.opcheck(getattr(torch.ops.ivn, name).default, arguments)


def test_compiles_into_one_graph(device):
    def mask(weights, keys):
        index = top_tokens(weights, 3)
        return index, other_tokens(index, 32)

    weights, keys = torch.rand(2, 4, 8, device=device), keys_of(2, device)
    compiled = torch.compile(mask, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(compiled(weights, keys), mask(weights, keys), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.gpu
def test_is_captured_in_a_cuda_graph():
    weights, keys = torch.rand(3, 4, 64, device="cuda"), keys_of(3, "cuda")
    hidden = torch.arange(12, device="cuda").expand(3, -1) % 5 == 0

    def masks():
        index = sample_tokens(weights, keys, 7)
        blocks = hide_blocks(keys, 6, 6, count=2, height=2, width=3)
        return index, other_tokens(index, 256), blocks, random_open_tokens(hidden, keys, 2, 9)

    assert_captured(masks, [])


@pytest.mark.gpu
def test_more_tokens_than_fit_are_told_on_a_gpu():
    hidden = torch.zeros(1, 10**6, dtype=torch.bool, device="cuda")
    with pytest.raises(RuntimeError, match=r"open_tokens.*more tokens than"):
        random_open_tokens(hidden, keys_of(1, "cuda"), 1, 5)
    assert random_open_tokens(hidden[:, :9], keys_of(1, "cuda"), 1, 5).shape == (1, 5)


@pytest.mark.gpu
def test_masks_are_the_same_bits_on_both_devices():
    weights, keys = torch.rand(64, 16, 256), keys_of(64)
    assert torch.equal(
        sample_tokens(weights, keys, 51), sample_tokens(weights.cuda(), keys.cuda(), 51).cpu()
    )
    hidden = hide_blocks(keys, 16, 16, count=8, height=6, width=6)
    assert torch.equal(hidden, hide_blocks(keys.cuda(), 16, 16, count=8, height=6, width=6).cpu())
    assert torch.equal(
        random_open_tokens(hidden, keys, 16, 800),
        random_open_tokens(hidden.cuda(), keys.cuda(), 16, 800).cpu(),
    )

"""Weights: each source as often as its weight says, exactly, in an order that is keyed."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.parquet import Row, read_manifest, write_manifest
from ivn.data.sampling.order import epoch_length, epoch_order, substitutes, weighted_order
from ivn.data.sampling.pools import SourcePool, are_images, drawn_fingerprint, source_weights
from ivn.errors import DataError
from ivn.keys import make_keys
from ivn.media.source import Source

WEIGHTS = st.lists(st.floats(0, 20), min_size=1, max_size=40).filter(lambda w: sum(w) >= 1)


def counts(order, sources):
    return torch.bincount(order, minlength=sources)


def fp64(weights):
    return torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 7, 1000, 70_000])
def test_weights_of_one_are_the_order_without_weights(count):
    assert torch.equal(
        weighted_order(3, 2, torch.ones(count, dtype=torch.float64)), epoch_order(3, 2, count)
    )


def test_an_order_in_chunks_is_the_order(monkeypatch):
    whole = epoch_order(3, 2, 1000)
    monkeypatch.setattr("ivn.data.sampling.order._CHUNK", 64)
    assert torch.equal(epoch_order(3, 2, 1000), whole)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(0, 1000))
def test_each_source_is_there_as_often_as_its_weight_says_or_once_more(weights, epoch):
    order = weighted_order(7, epoch, fp64(weights))
    assert len(order) == epoch_length(fp64(weights))
    assert abs(len(order) - sum(weights)) < 1 + 1e-6
    for weight, times in zip(weights, counts(order, len(weights)).tolist(), strict=True):
        # One at the end may be left out; weights are sums of 2**-32.
        assert int(weight - 1e-9) - 1 <= times <= int(weight + 1e-9) + 1
    assert torch.equal(order, weighted_order(7, epoch, fp64(weights)))


def test_whole_weights_are_exact():
    weights = fp64([3, 0, 1, 2])
    for epoch in range(50):
        assert counts(weighted_order(0, epoch, weights), 4).tolist() == [3, 0, 1, 2]


def test_shares_are_right_over_epochs_and_in_every_stretch_of_one():
    weights = fp64([0.5] * 300 + [0.1] * 500 + [2.25] * 40)
    total = torch.zeros(840)
    for epoch in range(400):
        times = counts(weighted_order(1, epoch, weights), 840)
        total += times
        for part, share in [(times[:300], 150), (times[300:800], 50), (times[800:], 90)]:
            assert abs(int(part.sum()) - share) <= 2
    error = total / 400 - weights
    # Each is drawn with its own chance of one more: at most a standard deviation of 0.5.
    assert error.abs().max() < 5 * 0.5 / 400**0.5
    assert abs(error.mean()) < 0.002


def test_copies_of_a_source_lie_apart_and_epochs_differ():
    weights = fp64([4.0] * 50)
    one, other = (weighted_order(1, epoch, weights) for epoch in (0, 1))
    assert not torch.equal(one, other)
    # As in any random order of 200: 3 of its neighbours in 199 are alike, give or take.
    assert sum(a == b for a, b in pairwise(one.tolist())) < 15


def test_a_weight_of_zero_is_as_if_the_row_were_not_there():
    rows, weights = torch.arange(6), fp64([1, 0, 1, 1, 0, 1])
    pool = SourcePool(2, rows, weights)
    assert len(pool) == pool.distinct == 4
    there = torch.tensor([0, 2, 3, 5])
    assert torch.equal(pool.at(1, torch.arange(4)), there[epoch_order(2, 1, 4)])
    key = make_keys(2, 0, [9])
    assert pool.substitutes(key, 3, 10) == there[substitutes(key, 2, 4, 10)].tolist()


@pytest.fixture
def manifest(tmp_path):
    def written(weights, name="m.parquet"):
        for index in range(len(weights)):
            (tmp_path / f"{index}.mp4").touch()
        rows = [Row(f"{index}.mp4", weight=weight) for index, weight in enumerate(weights)]
        write_manifest(tmp_path / name, rows)
        return read_manifest(tmp_path / name)

    pytest.importorskip("pyarrow")
    return written


def test_a_manifest_brings_its_weights(manifest):
    table = manifest([1.0, 0.5, 2.0])
    assert source_weights(table).tolist() == [1.0, 0.5, 2.0]
    assert source_weights(table[1:]).tolist() == [0.5, 2.0]
    assert source_weights([Source("a.mp4")] * 2).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0], r"1.mp4: its weight is -1, expected 0 to 1000"),
        ([1e9], "its weight is 1e\\+09"),
        ([0.0, 0.0], "the weight of every row is 0"),
    ],
)
def test_weights_that_make_no_sense_are_one_line(manifest, weights, message):
    with pytest.raises(DataError, match=message) as caught:
        source_weights(manifest(weights))
    assert "\n" not in str(caught.value)


def test_a_run_knows_other_weights_and_the_same_ones(manifest):
    plain, weighted = manifest([1.0, 1.0], "a.parquet"), manifest([1.0, 2.0], "b.parquet")
    again = manifest([1.0, 2.0], "c.parquet")
    assert fingerprint(plain) == fingerprint(weighted) == drawn_fingerprint(plain)
    assert drawn_fingerprint(weighted) == drawn_fingerprint(again) != fingerprint(plain)


def test_images_are_known_by_their_names_in_tables_and_lists(tmp_path):
    pytest.importorskip("pyarrow")
    names = ["a.jpg", "b.mp4", "C.PNG", "d.webp.mp4", "ejpg", "f.jpeg"]
    rows = [Row(name) for name in names] + [
        Row("a.tar", member="x/y.WebP"),
        Row("b.jpg", member="x/y.mp4"),
    ]
    (tmp_path / "a.jpg").touch()
    write_manifest(tmp_path / "m.parquet", rows)
    table = read_manifest(tmp_path / "m.parquet")
    expected = [True, False, True, False, False, True, True, False]
    assert are_images(table).tolist() == are_images(list(table)).tolist() == expected

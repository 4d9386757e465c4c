"""Which sources and keys a step has: from its number alone, for as long as one likes."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ivn.data.batch import Batch, ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.reader import read_clip
from ivn.data.sampling.order import epoch_order
from ivn.data.sampling.plan import Plan
from ivn.errors import DataError
from ivn.keys import make_keys
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.stages.blocks import batch_keys

CONFIG = DataConfig(seed=5)
SOURCES = [Source(f"{number}.mp4") for number in range(23)]


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def chosen(plan, step):
    return [slot.source.path for slot in plan.slots(step, plan.keys(step))]


def rows(plan, steps):
    return [(plan.keys(step).tolist(), chosen(plan, step)) for step in steps]


def test_without_repeats_the_order_is_the_epochs_permutation():
    plan = Plan(SOURCES, CONFIG, 4)
    assert plan.steps_per_epoch == 5
    for step in (0, 3, 5, 12):
        epoch, index = divmod(step, 5)
        order = epoch_order(5, epoch, 23)[4 * index : 4 * index + 4]
        assert chosen(plan, step) == [SOURCES[number].path for number in order]
        assert torch.equal(plan.keys(step), make_keys(5, epoch, range(4 * index, 4 * index + 4)))


def test_any_step_can_come_first():
    ahead, jumping = Plan(SOURCES, CONFIG, 4), Plan(SOURCES, CONFIG, 4)
    steps = list(range(14))
    assert dict(zip(steps, rows(ahead, steps), strict=True)) == dict(
        zip(steps[::-1], rows(jumping, steps[::-1]), strict=True)
    )


def test_repeats_meet_each_source_once_an_epoch_with_keys_of_their_own():
    plan = Plan(SOURCES, replace(CONFIG, repeats=3), 6)
    assert plan.steps_per_epoch == 11
    assert plan.keys(1)[:, 2:].tolist() == [[2, 0], [2, 1], [2, 2], [3, 0], [3, 1], [3, 2]]
    slots = plan.slots(1, plan.keys(1))
    assert [slot.row for slot in slots] == [0, 3]
    assert [slot.keys.tolist() for slot in slots] == [
        plan.keys(1)[:3].tolist(),
        plan.keys(1)[3:].tolist(),
    ]
    visited = [path for step in range(11) for path in chosen(plan, step)]
    assert len(set(visited)) == len(visited) == 22
    # The first of the repeats is the clip that there would be without them.
    alone = Plan(SOURCES, CONFIG, 2)
    assert chosen(plan, 4) == chosen(alone, 4)
    assert torch.equal(plan.keys(4)[::3], alone.keys(4))


@pytest.mark.parametrize("repeats", [1, 2])
def test_processes_share_the_rows(repeats):
    config = replace(CONFIG, repeats=repeats)
    whole, parts = (
        Plan(SOURCES, config, 8),
        [Plan(SOURCES, config, 8, rank=rank, world_size=2) for rank in range(2)],
    )
    for step in (0, 7):
        assert torch.equal(torch.cat([part.keys(step) for part in parts]), whole.keys(step))
        assert chosen(parts[0], step) + chosen(parts[1], step) == chosen(whole, step)


def test_blocks_are_drawn_from_the_keys_of_the_whole_batch_with_repeats_too():
    for repeats in (1, 2, 4):
        config = replace(CONFIG, repeats=repeats)
        whole = Plan(SOURCES, config, 8)
        for rank in range(2):
            keys = Plan(SOURCES, config, 8, rank=rank, world_size=2).keys(3)
            assert torch.equal(batch_keys(keys, 8, repeats), whole.keys(3))


@pytest.mark.parametrize(("repeats", "batch", "world"), [(3, 4, 1), (2, 6, 2), (1, 3, 2)])
def test_what_does_not_divide_is_refused(repeats, batch, world):
    with pytest.raises(ValueError, match="expected a batch that divides"):
        Plan(SOURCES, replace(CONFIG, repeats=repeats), batch, world_size=world)


def test_repeats_are_cut_from_one_decode_and_are_what_their_keys_say(monkeypatch):
    pytest.importorskip("av")
    from ivn.data import reader

    calls = []

    def counted(source, choose, **options):
        calls.append(source.path)
        return decode(source, choose, **options)

    monkeypatch.setattr(reader, "decode", counted)
    specs = {"student": ClipSpec(4, 28), "teacher": ClipSpec(2, 64)}
    clips, config = list_clips(BUNDLED_CLIPS)[:6], replace(CONFIG, repeats=3)
    with ClipLoader(clips, specs, config, batch_size=6, workers=0) as loader:
        batch = next(loader)
    assert len(calls) == 2 and batch.repeats == batch.part(0, 3).repeats == 3
    for row in range(6):
        key = batch.keys[row : row + 1]
        source = clips[int(epoch_order(5, 0, 6)[row // 3])]
        views = read_clip(source, specs, config, key)
        for name in specs:
            assert torch.equal(batch.clips[name][row], views[name])
    assert not torch.equal(batch.clips["student"][0], batch.clips["student"][1])
    with ClipLoader(clips, specs, config, batch_size=6, workers=2) as loader:
        other = next(loader)
    assert isinstance(other, Batch) and other.repeats == 3
    for name in specs:
        assert torch.equal(other.clips[name], batch.clips[name])


def test_a_day_of_steps_takes_no_more_memory_than_its_first_quarter():
    """24 h at 100 clips a second: 16,875 steps of 512 clips, 8 epochs of a million sources."""
    sources = range(1_100_000)  # a table makes a source when it is asked for one
    plan = Plan(sources, CONFIG, 512)
    steps = 24 * 3600 * 100 // 512
    started, taken = time.perf_counter(), []
    for step in range(steps):
        keys = plan.keys(step)
        if step % 20 == 0:
            assert len({slot.source for slot in plan.slots(step, keys)}) == 512
        if step in (steps // 4, steps - 1):
            taken.append(resident())
    # An order is 9 MB, an epoch's; the keys of a step are 16 KB: either, kept, is seen.
    assert taken[1] - taken[0] < 32e6
    assert time.perf_counter() - started < 300


MIXED = [Source(f"{number}.mp4") for number in range(10)] + [
    Source(f"{number}.{suffix}")
    for number, suffix in enumerate(["jpg", "PNG", "webp", "jpeg", "jpg"])
]


def test_images_as_listed_are_sources_like_others():
    plan = Plan(MIXED, CONFIG, 5)
    assert plan.steps_per_epoch == 3
    assert sorted(path for step in range(3) for path in chosen(plan, step)) == sorted(
        source.path for source in MIXED
    )


@pytest.mark.parametrize(
    ("images", "slots"), [("spread", [1, 3, 5, 7]), ("together", [4, 5, 6, 7])]
)
def test_images_have_their_share_of_every_batch_and_go_round_by_themselves(images, slots):
    config = replace(CONFIG, images=images, image_share=0.5)
    plan = Plan(MIXED, config, 8)
    assert plan.steps_per_epoch == 2
    seen = []
    for step in range(20):
        paths = chosen(plan, step)
        found = [slot for slot, path in enumerate(paths) if not path.endswith("mp4")]
        assert found == slots
        seen += [paths[slot] for slot in found]
    for start in range(0, 80, 5):
        assert len(set(seen[start : start + 5])) == 5
    assert seen[:5] != seen[5:10] or seen[:5] != seen[10:15]
    # Another order than a pool of five videos has.
    assert seen[:5] != [MIXED[10 + int(index)].path for index in epoch_order(5, 0, 5)]
    parts = [Plan(MIXED, config, 8, rank=rank, world_size=2) for rank in range(2)]
    for step in (0, 5):
        assert chosen(parts[0], step) + chosen(parts[1], step) == chosen(plan, step)


def test_with_images_together_the_last_processes_see_nothing_else():
    config = replace(CONFIG, images="together", image_share=0.25)
    for rank in range(4):
        plan = Plan(MIXED, config, 8, rank=rank, world_size=4)
        kinds = {path.endswith("mp4") for step in range(5) for path in chosen(plan, step)}
        assert kinds == {rank < 3}


def test_a_broken_image_is_replaced_by_an_image():
    plan = Plan(MIXED, replace(CONFIG, images="together", image_share=0.25), 8)
    *_, slot = plan.slots(0, plan.keys(0))
    for _ in range(4):
        slot.mark_unusable("why")
        assert not slot.source.path.endswith("mp4")
    with pytest.raises(DataError, match="no file can be used: why; why; why; why; why"):
        slot.mark_unusable("why")


@pytest.mark.parametrize(
    ("sources", "share", "message"),
    [
        (SOURCES, 0.25, "data.images is spread and none of the 23 sources is an image"),
        (MIXED, 0.01, "image_share 0.01 of 8 sources a batch is 0 images"),
        (MIXED, 0.99, "is 8 images: expected at least one, and a video"),
        (MIXED[8:], 0.5, "2 videos are fewer than one batch of 4"),
    ],
)
def test_shares_that_cannot_be_are_refused(sources, share, message):
    with pytest.raises(ValueError, match=message):
        Plan(sources, replace(CONFIG, images="spread", image_share=share), 8)

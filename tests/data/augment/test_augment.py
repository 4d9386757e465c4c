"""Augmentation of batches: by each clip's own key, and off by default."""

from dataclasses import replace

import pytest
import torch

from ivn.data.augment import augment as operations
from ivn.data.augment.augment import augment
from ivn.data.batch import Batch, ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.keys import make_keys
from ivn.media.source import BUNDLED_CLIPS

ALL = DataConfig(
    seed=3, colour_jitter=(0.4, 0.4, 0.4, 0.1), rand_augment=2, rand_magnitude=12, erase=0.5
)
SPECS = {"student": ClipSpec(3, 32), "teacher": ClipSpec(3, 48)}


def batch(rows=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    tints = torch.randint(60, 200, (rows, 1, 1, 1, 3), dtype=torch.uint8, generator=generator)
    # Smooth, so that what is noise can be told.
    clips = {
        name: tints.expand(rows, spec.frames, spec.size, spec.size, 3).clone()
        for name, spec in SPECS.items()
    }
    for name, spec in SPECS.items():
        ramp = torch.linspace(-40, 40, spec.size)[:, None]
        clips[name] = (clips[name] + ramp).to(torch.uint8)
    return Batch(clips, make_keys(seed, 0, range(rows)))


def changed(config, whole=None):
    whole = whole or batch()
    augment(whole, config)
    return whole


def test_the_defaults_change_nothing():
    for name, clips in changed(DataConfig()).clips.items():
        assert torch.equal(clips, batch().clips[name])


@pytest.mark.parametrize(
    "config",
    [
        DataConfig(colour_jitter=(0.4, 0.4, 0.4, 0.1)),
        DataConfig(rand_augment=2),
        DataConfig(erase=1.0),
        ALL,
    ],
)
def test_any_split_of_a_batch_gives_the_same(config):
    whole = changed(config)
    parts = [changed(config, batch().part(start, start + 4)) for start in (0, 4, 8)]
    for name in SPECS:
        assert torch.equal(torch.cat([part.clips[name] for part in parts]), whole.clips[name])
        assert not torch.equal(whole.clips[name], batch().clips[name])


def test_each_repeat_is_changed_in_its_own_way():
    keys = make_keys(1, 0, [5, 5, 5])
    keys[:, 3] = torch.arange(3)
    clip = batch(1).clips["student"].expand(3, -1, -1, -1, -1).clone()
    three = Batch({"student": clip}, keys)
    augment(three, ALL)
    assert not torch.equal(three.clips["student"][0], three.clips["student"][1])
    assert not torch.equal(three.clips["student"][1], three.clips["student"][2])


def test_all_frames_of_a_clip_are_changed_alike_but_for_noise():
    for clip in changed(replace(ALL, erase=0.0)).clips["teacher"]:
        assert (clip == clip[:1]).all()


def test_all_consumers_see_the_same_change():
    jittered = changed(DataConfig(colour_jitter=(0.5, 0.5, 0.5, 0.2)))
    for student, teacher in zip(*jittered.clips.values(), strict=True):
        means = [clip.float().mean((0, 1, 2)) for clip in (student, teacher)]
        assert (means[0] - means[1]).abs().max() < 6


def test_the_share_of_erased_clips_and_the_size_and_place_of_the_box_are_right():
    rows = 400
    plain, erased = batch(rows), changed(DataConfig(erase=0.3), batch(rows))
    areas, count = [], 0
    for name in SPECS:
        different = (plain.clips[name] != erased.clips[name]).any(-1).any(1)  # [B, H, W]
        hit = different.flatten(1).any(1)
        count = int(hit.sum())
        assert abs(count / rows - 0.3) < 4 * (0.21 / rows) ** 0.5
        for where in different[hit]:
            rows_hit, columns_hit = where.any(1).nonzero(), where.any(0).nonzero()
            height = int(rows_hit.max() - rows_hit.min()) + 1
            width = int(columns_hit.max() - columns_hit.min()) + 1
            # A box, of which hardly a pixel keeps its value by chance.
            assert where.sum() > 0.9 * height * width
            areas.append(height * width / where.numel())
    assert min(areas) > 0.01 and max(areas) < 0.37
    assert 0.14 < sum(areas) / len(areas) < 0.21
    noise = erased.clips["teacher"][erased.clips["teacher"] != plain.clips["teacher"]].float()
    assert abs(noise.mean() - 255 * 0.449) < 8


def test_operations_are_drawn_evenly_and_half_of_them_turned():
    keys = make_keys(0, 0, range(6000))
    drawn = operations._operations(keys, DataConfig(rand_augment=1))
    named = {}
    for (operation,) in drawn:
        arguments = getattr(operation, "args", ())
        name = (arguments[0] if arguments else operation).__name__
        named.setdefault(name, []).append(arguments[1] if arguments else 0)
    assert len(named) == 14
    for name, strengths in named.items():
        assert abs(len(strengths) / 6000 - 1 / 14) < 5 * (1 / 14 / 6000) ** 0.5, name
    for name, middle in [("shear_x", 0), ("rotate", 0), ("brightness", 1), ("sharpness", 1)]:
        assert len(set(named[name])) == 2
        below = sum(strength < middle for strength in named[name]) / len(named[name])
        assert 0.38 < below < 0.62


def test_jitter_stays_in_its_range_in_every_order():
    drawn = operations._jitters(
        make_keys(0, 0, range(500)), DataConfig(colour_jitter=(0.4, 0.0, 2.0, 0.1))
    )
    orders = {tuple(change.args[0].__name__ for change in each) for each in drawn}
    assert len(orders) == 6 and all(len(order) == 3 for order in orders)
    strengths = {}
    for each in drawn:
        for change in each:
            strengths.setdefault(change.args[0].__name__, []).append(change.args[1])
    for name, low, high in [("brightness", 0.6, 1.4), ("saturation", 0, 3), ("hue", -0.1, 0.1)]:
        assert low <= min(strengths[name]) < low + 0.05 * (high - low)
        assert high >= max(strengths[name]) > high - 0.05 * (high - low)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_augments_what_it_hands_out(workers):
    pytest.importorskip("av")
    config = replace(ALL, repeats=2)
    with ClipLoader(
        list_clips(BUNDLED_CLIPS)[:6], SPECS, config, batch_size=4, workers=workers
    ) as loader:
        found = [next(loader) for _ in range(2)]
    plain = DataConfig(seed=3, repeats=2)
    with ClipLoader(list_clips(BUNDLED_CLIPS)[:6], SPECS, plain, batch_size=4, workers=0) as loader:
        for ours in found:
            expected = next(loader)
            augment(expected, config)
            for name in SPECS:
                assert torch.equal(ours.clips[name], expected.clips[name])


@pytest.mark.parametrize(
    "options",
    [
        {"colour_jitter": (-0.1, 0.0, 0.0, 0.0)},
        {"colour_jitter": (0.1, 0.0, 0.0, 0.6)},
        {"rand_augment": -1},
        {"rand_magnitude": 31},
        {"erase": 1.5},
        {"repeats": 0},
        {"decode_seconds": 0.0},
        {"image_share": 0.0},
        {"image_share": 1.0},
    ],
)
def test_strengths_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DataConfig(**options)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits():
    there = batch().to("cuda")
    augment(there, ALL)
    for name, clips in changed(ALL).clips.items():
        assert torch.equal(there.clips[name].cpu(), clips)

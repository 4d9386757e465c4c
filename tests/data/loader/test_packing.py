"""Clips on their way: as crops or as squares, and the same when they are there."""

import itertools

import pytest
import torch

from ivn.data import crop
from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.crop import CroppedClip
from ivn.data.loader.feeder import Feeder
from ivn.data.loader.loader import ClipLoader
from ivn.data.loader.packing import ClipPacking
from ivn.data.loader.transfer import ToHost
from ivn.data.manifest.listing import list_clips
from ivn.data.resize import resized_by_products
from ivn.data.sampling.plan import Plan
from ivn.media.source import BUNDLED_CLIPS
from tests.media.videos import noise

# Crops of frames of 256 lines have 168 to 256 pixels a side: some are fewer bytes than these two.
SPECS = {
    "student": ClipSpec(4, 112),
    "teacher": ClipSpec(4, 180),
    "again": ClipSpec(4, 112),
    "slow": ClipSpec(2, 112),
}
# Of squares of 112 and 180 of four frames, and of 112 of two.
ROW_BYTES = 3 * (4 * 112**2 + 4 * 180**2 + 2 * 112**2)


def clip(height, width, *, flip=False):
    """Part of larger frames, as a crop is."""
    return CroppedClip(torch.from_numpy(noise(4, height + 6, width + 9))[:, 3:-3, 4:-5], flip)


def packed(clips, *, crops):
    packing = ClipPacking(SPECS, crops=crops)
    rows = {
        name: torch.full(shape, 255, dtype=torch.uint8)
        for name, shape in packing.shapes(len(clips)).items()
    }
    for row, one in enumerate(clips):
        packing.pack(one, rows, row)
    return packing, rows


def resized_here(monkeypatch):
    """Resizing in this process from now on: by products, as on a GPU. Gives what it will grow."""
    sizes = []

    def resized(frames, size):
        sizes.append(size)
        return resized_by_products(frames, size)

    monkeypatch.setattr(crop, "resized", resized)
    return sizes


@pytest.mark.parametrize("crops", [False, True])
def test_what_arrives_is_what_consumers_see_of_each_clip(crops, device, monkeypatch):
    clips = [clip(60, 200, flip=True), clip(300, 301), clip(1, 7), clip(256, 256, flip=True)]
    expected = [one.for_consumers(SPECS) for one in clips]
    packing, rows = packed(clips, crops=crops)
    sizes = resized_here(monkeypatch)
    found = packing.unpack(rows, torch.device(device))
    assert len(sizes) == (2 * 3 if crops else 0)  # of two clips, three shapes
    rows["pixels"].fill_(0)
    assert list(found) == list(SPECS)
    for name in SPECS:
        assert found[name].device.type == device
        assert torch.equal(found[name].cpu(), torch.stack([views[name] for views in expected]))


def test_crops_travel_as_they_are_and_large_ones_as_squares():
    side = int((ROW_BYTES / 12) ** 0.5)
    fits, not_quite = clip(side, side), clip(side + 1, side + 1, flip=True)
    _, rows = packed([fits, not_quite], crops=True)
    assert rows["pixels"].shape == (2, ROW_BYTES)
    assert rows["crops"].view(torch.int32).tolist() == [[side, side, 0], [0, 0, 0]]
    assert torch.equal(rows["pixels"][0, : fits.frames.numel()], fits.frames.flatten())
    _, rows = packed([fits, not_quite], crops=False)
    assert not rows["crops"].any()


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.keys.cpu(), other.keys)
        for name in SPECS:
            assert torch.equal(one.clips[name].cpu(), other.clips[name])


@pytest.mark.parametrize("augmentation", ["multi_scale", "random_resized"])
def test_where_clips_are_resized_changes_no_bit_of_a_batch(augmentation, monkeypatch):
    pytest.importorskip("av")
    config = DataConfig(seed=11, augmentation=augmentation, repeats=2)
    sources = list_clips(BUNDLED_CLIPS)[:5]
    with ClipLoader(sources, SPECS, config, batch_size=4, workers=0) as loader:
        expected = list(itertools.islice(loader, 4))
    sizes = resized_here(monkeypatch)
    feeder = Feeder(
        Plan(sources, config, 4),
        ClipPacking(SPECS, crops=True),
        workers=2,
        start=0,
        limit_bytes=1 << 28,
        transfer=ToHost(),
    )
    try:
        found = [feeder.take(step) for step in range(4)]
    finally:
        feeder.close()
    assert_equal(found, expected)
    # Some of 16 clips in three shapes here, and some where they were decoded.
    assert 0 < len(sizes) < 16 * 3


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augmentation", ["multi_scale", "random_resized"])
def test_a_gpu_gets_the_batches_of_the_cpu(workers, augmentation):
    pytest.importorskip("av")
    config = DataConfig(seed=11, augmentation=augmentation, repeats=2)
    sources = list_clips(BUNDLED_CLIPS)[:5]
    batches = []
    for place in ("cuda", "cpu"):
        with ClipLoader(
            sources, SPECS, config, batch_size=4, workers=workers, device=place
        ) as loader:
            batches.append(list(itertools.islice(loader, 4)))
    assert {clip.device.type for batch in batches[0] for clip in batch.clips.values()} == {"cuda"}
    assert_equal(*batches)

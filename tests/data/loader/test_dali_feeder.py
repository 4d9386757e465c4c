"""With DALI the loader gives the batches that it gives without: colours are rounded otherwise."""

import itertools
import sys

import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.crop import Crop, cut
from ivn.data.loader.loader import ClipLoader
from ivn.errors import DataError
from ivn.media.decode import BACKENDS, dali
from ivn.media.source import Source
from tests.media.decode.clips import needs
from tests.media.videos import BUNDLED, broken_files

pytest.importorskip("av")
needs_dali = needs(dali)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SPECS = {"student": ClipSpec(4, 28), "teacher": ClipSpec(4, 64), "slow": ClipSpec(2, 28)}
FILES = [file for file in BUNDLED if file.suffix == ".webm"] + BUNDLED[:4]
SOURCES = [Source(str(file)) for file in FILES]


def batches(count, decoder, *, sources=SOURCES, workers=0, start=0, device="cpu", repeats=1):
    config = DataConfig(seed=11, decoder=decoder, repeats=repeats)
    with ClipLoader(sources, SPECS, config, batch_size=2, workers=workers, device=device) as loader:
        loader.step = start
        return list(itertools.islice(loader, count))


def assert_close(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.host_keys, other.host_keys)
        assert one.replaced == other.replaced
        assert one.clips.keys() == other.clips.keys()
        for name in one.clips:
            apart = (one.clips[name].cpu().int() - other.clips[name].int()).abs().float()
            assert apart.mean((1, 2, 3, 4)).max() < 3


@needs_dali
@pytest.mark.parametrize("device", DEVICES)
def test_batches_are_those_of_the_other_decoder_within_a_bound(device):
    expected = batches(6, "auto")
    found = batches(6, "dali", device=device)
    assert_close(found, expected)
    assert {clip.device.type for batch in found for clip in batch.clips.values()} == {device}
    assert not all(
        torch.equal(one.clips["teacher"].cpu(), other.clips["teacher"])
        for one, other in zip(found, expected, strict=True)
    ), "DALI decoded nothing"


@needs_dali
def test_neither_threads_nor_restarts_change_a_batch():
    whole = batches(5, "dali", workers=1)
    for workers, start in ((0, 0), (3, 0), (1, 3)):
        again = batches(5 - start, "dali", workers=workers, start=start)
        for one, other in zip(again, whole[start:], strict=True):
            assert all(torch.equal(one.clips[name], other.clips[name]) for name in SPECS)


@needs_dali
@pytest.mark.parametrize("device", DEVICES)
def test_broken_files_are_replaced_as_by_the_other_decoder(tmp_path, device):
    broken = [Source(str(file)) for file in broken_files(tmp_path).values()][:3]
    sources = [*SOURCES[:4], *broken]
    expected = batches(6, "auto", sources=sources)
    assert sum(len(batch.replaced) for batch in expected) >= 3
    assert_close(batches(6, "dali", sources=sources, device=device), expected)
    with pytest.raises(DataError, match="no file can be used: "):
        batches(1, "dali", sources=broken, device=device)


@needs_dali
def test_repeated_clips_are_of_one_decode():
    assert_close(batches(3, "dali", repeats=2), batches(3, "auto", repeats=2))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", ["dali", "torchcodec"])
def test_without_its_library_the_loader_says_what_to_do(monkeypatch, name, workers):
    """With workers, too: a process that has no library is none that died."""
    monkeypatch.setitem(sys.modules, BACKENDS[name].module, None)
    with pytest.raises(DataError, match=r"is not installed: pip .*; or set data\.decoder=auto"):
        batches(1, name, workers=workers)


@pytest.mark.gpu
def test_a_crop_has_the_same_bits_on_a_gpu():
    video = torch.randint(0, 256, (3, 90, 120, 3), dtype=torch.uint8)
    for crop in (Crop(3, 5, 70, 90), Crop(0, 0, 90, 120, flip=True), Crop(89, 7, 1, 1)):
        for size in (28, 70, 200):
            assert torch.equal(cut(video.cuda(), crop, size).cpu(), cut(video, crop, size))

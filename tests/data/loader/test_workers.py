"""Files that hang or crash a decoder, and processes that go for other reasons."""

import itertools
import os
import platform
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.errors import DataError
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.media.videos import write_mp4

pytest.importorskip("av")
SPECS = {"student": ClipSpec(2, 28)}
GOOD = list_clips(BUNDLED_CLIPS)[:5]
CONFIG = DataConfig(seed=11)


class Hanging(Source):
    """Keeps the process that gets it, as some files keep a decoder."""

    def __reduce__(self):
        return time.sleep, (1000,)


class Crashing(Source):
    """Ends the process that gets it, as a decoder's fault does."""

    def __reduce__(self):
        return os.abort, ()


class Leaving(Source):
    """Ends the process that gets it in a way that is no decoder's."""

    def __reduce__(self):
        return os._exit, (3,)


def batches(sources, config, count=3, workers=2, **options):
    with ClipLoader(sources, SPECS, config, batch_size=3, workers=workers, **options) as loader:
        return list(itertools.islice(loader, count))


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.clips["student"], other.clips["student"])
        assert torch.equal(one.keys, other.keys)
        assert [(r.path, r.by, r.row) for r in one.replaced] == [
            (r.path, r.by, r.row) for r in other.replaced
        ]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Hanging, "bad.mp4: not decoded within 2 s"), (Crashing, r"bad.mp4: .* \(SIGABRT\)")],
)
def test_a_file_that_hangs_or_crashes_is_replaced_as_a_broken_one_is(tmp_path, kind, reason):
    path = str(tmp_path / "bad.mp4")
    limited = replace(CONFIG, decode_seconds=2.0)
    found = batches([*GOOD, kind(path)], limited)
    # A file that is not there is replaced in the same places by the same files.
    same(found, batches([*GOOD, Source(path)], CONFIG, workers=0))
    named = [one for batch in found for one in batch.replaced]
    assert named and all(one.path == path for one in named)
    assert all(re.search(reason, one.reason) for one in named)


def test_a_worker_that_ends_otherwise_is_an_error_that_names_its_file(tmp_path):
    with pytest.raises(DataError, match=r"a data worker died \(exit code 3 at .*bad.mp4\): use"):
        batches([*GOOD, Leaving(str(tmp_path / "bad.mp4"))], CONFIG, count=10)


def test_time_in_which_all_was_stopped_is_nobodys_fault():
    with ClipLoader(
        GOOD, SPECS, replace(CONFIG, decode_seconds=9.0), batch_size=3, workers=1
    ) as loader:
        next(loader)
        team = loader._feeder.workers
        before = team._now
        team._checked -= 3600  # as after Ctrl-Z for an hour
        for _ in range(4):
            assert next(loader).replaced == []
        assert team._now - before < 60


@pytest.mark.parametrize("workers", [1, 3])
def test_every_step_comes_once_and_in_order_from_any_number_of_workers(workers):
    found = batches(GOOD * 3, CONFIG, count=12, workers=workers)
    same(found, batches(GOOD * 3, CONFIG, count=12, workers=0))


def test_what_was_taken_is_the_callers_own():
    with ClipLoader(GOOD, SPECS, CONFIG, batch_size=3, workers=2) as loader:
        first = next(loader)
        kept = first.clips["student"].clone()
        for _ in range(5):
            next(loader)
        assert torch.equal(first.clips["student"], kept)


def test_memory_ahead_changes_nothing():
    small = batches(GOOD, CONFIG, count=6, prefetch_gib=1e-9)
    same(small, batches(GOOD, CONFIG, count=6, prefetch_gib=1.0))


def test_a_loader_that_is_forgotten_ends_its_processes():
    loader = ClipLoader(GOOD, SPECS, CONFIG, batch_size=3, workers=1)
    next(loader)
    (process,) = loader._feeder.workers.processes
    assert process.is_alive()
    del loader
    assert not process.is_alive()


def test_where_not_two_batches_fit_it_is_said_in_a_line(monkeypatch):
    def full(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"no memory for 1 batches of 0\.00 GiB .*: use smaller"):
        batches(GOOD, CONFIG)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_worker_keeps_the_memory_of_one_clip_for_the_next(tmp_path):
    file = write_mp4(tmp_path / "a.mp4", np.zeros((16, 240, 320, 3), np.uint8))
    specs = {"student": ClipSpec(16, 112)}
    with ClipLoader([Source(str(file))], specs, CONFIG, batch_size=1, workers=1) as loader:
        next(loader)
        (process,) = loader._feeder.workers.processes

        def pages():
            # proc(5): minflt is the tenth field, of which the second is in brackets.
            return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[7])

        before = pages()
        for _ in range(40):
            next(loader)
        given = (pages() - before) / 40 * os.sysconf("SC_PAGE_SIZE")
    # A clip's frames alone are 3.7 MB; some pages are those of the first clips.
    assert given < 2**20

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.reader import read_clip
from ivn.data.sampling.order import epoch_order, substitutes
from ivn.errors import DataError
from ivn.keys import make_keys
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.media.videos import broken_files, numbered_frames, write_video

pytest.importorskip("av")
SPECS = {"student": ClipSpec(4, 28), "teacher": ClipSpec(4, 64)}
CONFIG = DataConfig(seed=11)
SOURCES = list_clips(BUNDLED_CLIPS)[:10]


def batches(count, *, sources=SOURCES, config=CONFIG, batch_size=4, workers=0, start=0, **options):
    with ClipLoader(
        sources, SPECS, config, batch_size=batch_size, workers=workers, **options
    ) as loader:
        loader.step = start
        return list(itertools.islice(loader, count))


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.keys, other.keys)
        assert one.replaced == other.replaced
        assert one.clips.keys() == other.clips.keys()
        for name in one.clips:
            assert torch.equal(one.clips[name], other.clips[name])


@pytest.fixture(scope="module")
def first_six():
    return batches(6)


@pytest.fixture
def greys(tmp_path):
    """Six sources, told apart by their grey."""
    for index in range(6):
        frames = numbered_frames(4) * 0 + 40 * index
        write_video(tmp_path / f"{index}.mkv", frames)
    return list_clips(tmp_path)


def test_batches_are_what_the_specs_say(first_six):
    for batch in first_six:
        assert batch.clips["student"].shape == (4, 4, 28, 28, 3)
        assert batch.clips["teacher"].shape == (4, 4, 64, 64, 3)
        assert {clip.dtype for clip in batch.clips.values()} == {torch.uint8}
        assert batch.replaced == []
    # Two steps an epoch of ten sources.
    assert [batch.keys[:, 1:3].tolist() for batch in first_six[1:3]] == [
        [[0, 4], [0, 5], [0, 6], [0, 7]],
        [[1, 0], [1, 1], [1, 2], [1, 3]],
    ]


@pytest.mark.parametrize(
    "augmentation",
    [
        "multi_scale",
        pytest.param("random_resized", marks=pytest.mark.soak),
        pytest.param("centre", marks=pytest.mark.soak),
    ],
)
def test_workers_change_no_bit(augmentation):
    config = replace(CONFIG, augmentation=augmentation)
    one, other, third = (batches(4, config=config, workers=workers) for workers in (0, 1, 3))
    assert_equal(other, one)
    assert_equal(third, one)


@pytest.mark.parametrize(("start", "workers"), [(1, 0), (2, 0), (3, 2)])
def test_starting_at_a_step_goes_on_exactly(first_six, start, workers):
    assert_equal(batches(6 - start, start=start, workers=workers), first_six[start:])


def test_processes_share_the_global_batch(first_six):
    halves = [batches(3, rank=rank, world_size=2) for rank in range(2)]
    for whole, *parts in zip(first_six[:3], *halves, strict=True):
        assert torch.equal(torch.cat([part.keys for part in parts]), whole.keys)
        for name in SPECS:
            joined = torch.cat([part.clips[name] for part in parts])
            assert torch.equal(joined, whole.clips[name])


def test_an_epoch_visits_each_source_once_and_the_next_in_another_order(greys):
    grey = [
        batch.clips["student"][:, 0, 0, 0, 0] // 40
        for batch in batches(6, sources=greys, batch_size=2)
    ]
    first, second = torch.cat(grey[:3]).tolist(), torch.cat(grey[3:]).tolist()
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4, 5]
    assert first != second
    assert first == epoch_order(11, 0, 6).tolist()


def test_the_order_is_a_permutation_without_favourites():
    orders = torch.stack([epoch_order(seed, 3, 5) for seed in range(1000)])
    assert (orders.sort(dim=1).values == torch.arange(5)).all()
    for place in range(5):
        share = torch.bincount(orders[:, place], minlength=5) / 1000
        assert (share - 0.2).abs().max() < 5 * (0.16 / 1000) ** 0.5


def test_another_seed_gives_other_batches(first_six):
    (other,) = batches(1, config=replace(CONFIG, seed=12))
    assert not torch.equal(other.clips["student"], first_six[0].clips["student"])


def test_global_random_numbers_are_left_alone():
    before = torch.random.get_rng_state()
    batches(1, workers=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_steps_and_the_time_waited_are_counted():
    started = time.perf_counter()
    with ClipLoader(SOURCES, SPECS, CONFIG, batch_size=2, workers=0) as loader:
        assert len(list(itertools.islice(loader, 2))) == loader.step == 2
    assert 0 < loader.wait_seconds < time.perf_counter() - started
    assert loader.steps_per_epoch == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_files_are_replaced_by_whole_ones_and_named(tmp_path, workers):
    kinds = ["empty", "text", "sound"]
    files = broken_files(tmp_path)
    broken = [str(files[kind]) for kind in kinds]
    sources = [*SOURCES[:5], *map(Source, broken)]
    (batch,) = batches(1, sources=sources, batch_size=8, workers=workers)
    assert sorted(item.path for item in batch.replaced) == sorted(broken)
    for item in batch.replaced:
        assert item.path in item.reason
        assert item.by in {source.path for source in SOURCES[:5]}
        (row,) = (epoch_order(11, 0, 8) == broken.index(item.path) + 5).nonzero()[0].tolist()
        stand_in = read_clip(Source(item.by), SPECS, CONFIG, batch.keys[row : row + 1])
        assert torch.equal(batch.clips["teacher"][row], stand_in["teacher"])


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_files_is_an_error_that_lists_them(tmp_path, workers):
    sources = [Source(str(tmp_path / f"{index}.mp4")) for index in range(30)]
    with pytest.raises(DataError, match=r"11 unusable files in a row: .*no such file; ") as caught:
        batches(1, sources=sources, workers=workers)
    assert str(caught.value).count("no such file") == 11


def test_substitutes_are_distinct_uniform_and_never_the_broken_one():
    keys = make_keys(0, 0, torch.arange(1000)).split(1)
    rows = torch.tensor([substitutes(key, 2, 5, 10) for key in keys])
    assert (rows.sort(dim=1).values == torch.tensor([0, 1, 3, 4])).all()
    for place in range(4):
        share = torch.bincount(rows[:, place], minlength=5)[[0, 1, 3, 4]] / 1000
        assert (share - 0.25).abs().max() < 5 * (0.1875 / 1000) ** 0.5
    assert len(set(substitutes(keys[0], 7, 1000, 10))) == 10
    assert substitutes(keys[0], 0, 1, 10) == []


def test_a_dead_worker_is_an_error_and_not_a_wait():
    with ClipLoader(SOURCES, SPECS, CONFIG, batch_size=2, workers=1) as loader:
        next(loader)
        loader._feeder.workers.processes[0].kill()
        with pytest.raises(DataError, match="a data worker died"):
            for _ in range(20):
                next(loader)


def test_closing_ends_the_workers():
    loader = ClipLoader(SOURCES, SPECS, CONFIG, batch_size=2, workers=2)
    next(loader)
    processes = loader._feeder.workers.processes
    assert all(process.is_alive() for process in processes)
    loader.close()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 11}, "10 clips are fewer than one batch of 11"),
        ({"batch_size": 3, "world_size": 2}, "expected a batch that divides"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"workers": -1}, "workers -1"),
    ],
)
def test_wrong_arguments_are_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        batches(1, **options)


FIRST_BATCH = """
from ivn.data.batch import ClipSpec
from ivn.data.loader.loader import ClipLoader
from ivn.data.reader import DataConfig
from ivn.media.source import BUNDLED_CLIPS
from ivn.data.manifest.listing import list_clips

if __name__ == "__main__":
    sources, specs = list_clips(BUNDLED_CLIPS), {"student": ClipSpec(2, 28)}
    with ClipLoader(sources, specs, DataConfig(), batch_size=2, workers=1) as loader:
        print(next(iter(loader)).clips["student"].shape)
"""


def test_workers_import_no_module_of_the_working_directory(tmp_path):
    """As of the repository's root, whose ``ivn`` has no compiled library."""
    script, elsewhere = tmp_path / "script.py", tmp_path / "elsewhere"
    script.write_text(FIRST_BATCH)
    (elsewhere / "ivn").mkdir(parents=True)
    (elsewhere / "ivn" / "__init__.py").write_text("raise SystemExit('imported')")
    environment = {name: x for name, x in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([2, 2, 28, 28, 3])"


def proportional_memory(pids):
    """Bytes of some processes, what they share counted once."""
    return sum(
        int(line.split()[1]) * 1024
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )


def test_hundreds_of_batches_take_no_more_memory_than_the_first_ones(greys):
    with ClipLoader(greys, SPECS, CONFIG, batch_size=4, workers=2) as loader:
        pids = [os.getpid()]
        for count in range(1, 401):
            next(loader)
            if count == 100:
                pids += [process.pid for process in loader._feeder.workers.processes]
                before = proportional_memory(pids)
        # A clip is 60 KB: 1200 of them, kept anywhere, would be 70 MB.
        assert proportional_memory(pids) - before < 20e6


class Counting(Sequence):
    """A table that is told of each look at it."""

    def __init__(self, sources):
        self.sources, self.looks = sources, 0

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        assert isinstance(index, int)
        self.looks += 1
        return self.sources[index]

    def __reduce__(self):
        raise AssertionError("copied to another process")

    def __iter__(self):
        raise AssertionError("copied whole")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_table_of_sources_is_neither_copied_nor_given_to_workers(greys, workers):
    table = Counting(greys)
    assert_equal(batches(3, sources=table, workers=workers), batches(3, sources=greys, workers=0))
    assert table.looks < 100

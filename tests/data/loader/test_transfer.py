"""Batches on their way to where they are used."""

import contextlib
import itertools
import threading

import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader import loader as loader_module
from ivn.data.loader.loader import ClipLoader
from ivn.data.loader.packing import ClipPacking
from ivn.data.loader.ring import Ring
from ivn.data.loader.transfer import ToCuda, ToHost
from ivn.data.manifest.listing import list_clips
from ivn.media.source import BUNDLED_CLIPS
from tests.data.loader.test_loader import assert_equal

SPECS = {"student": ClipSpec(2, 28), "teacher": ClipSpec(4, 56)}
CONFIG = DataConfig(seed=11)


def batches(count=6, workers=2, **options):
    pytest.importorskip("av")
    with ClipLoader(
        list_clips(BUNDLED_CLIPS)[:5], SPECS, CONFIG, batch_size=2, workers=workers, **options
    ) as loader:
        return list(itertools.islice(loader, count))


class Ahead(ToHost):
    """Copies beside the caller's thread, as for a GPU."""

    def __init__(self):
        self.threads, self.used, self.waiting, self.most, self.closed = set(), 0, 0, 0, 0

    def register(self, memory):
        self.used += 1

    def copies_ahead(self, size):
        return True

    @contextlib.contextmanager
    def side_stream(self):
        self.threads.add(threading.current_thread().name)
        yield
        self.waiting += 1
        self.most = max(self.most, self.waiting)

    def hand_over(self, tensors):
        self.waiting -= 1

    def close(self):
        self.closed += 1


class Overwriting(ClipPacking):
    """As workers do with what has been copied."""

    def unpack(self, rows, device):
        clips = super().unpack(rows, device)
        for memory in rows.values():
            memory.fill_(0)
        return clips


def test_copies_run_beside_the_caller_one_batch_ahead(monkeypatch):
    ahead = Ahead()
    monkeypatch.setattr(loader_module, "transfer_to", lambda device: ahead)
    monkeypatch.setattr(loader_module, "ClipPacking", Overwriting)
    found = batches()
    monkeypatch.undo()
    assert_equal(found, batches(workers=0))
    assert ahead.threads == {"ivn-feeder"}
    assert ahead.most <= 2  # one ahead, and one that is just being taken
    assert ahead.used >= 2 and ahead.closed == 1


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_gets_the_same_batches(workers):
    there = batches(workers=workers, device="cuda")
    here = batches(workers=0)
    for one, other in zip(there, here, strict=True):
        assert one.keys.is_cuda and torch.equal(one.keys.cpu(), other.keys)
        assert not one.host_keys.is_cuda and torch.equal(one.host_keys, other.host_keys)
        for name in SPECS:
            assert one.clips[name].is_cuda
            assert torch.equal(one.clips[name].cpu(), other.clips[name])


@pytest.mark.gpu
def test_slots_are_page_locked_in_place_and_let_go_at_the_end():
    ring = Ring({"a": (1 << 22,)}, count=2)
    ring.reserve(1)
    transfer = ToCuda(torch.device("cuda"))
    transfer.register(ring.bytes_of(0))
    assert ring.buffer(0)["a"].is_pinned()
    assert not ring.buffer(1)["a"].is_pinned()
    ring.buffer(0)["a"].fill_(7)
    with transfer.side_stream():
        copied = ring.buffer(0)["a"].to("cuda", non_blocking=True)
    assert (copied == 7).all()
    transfer.close()
    assert not ring.buffer(0)["a"].is_pinned()


@pytest.mark.gpu
def test_copies_do_not_wait_for_the_step_and_are_not_overwritten_in_it():
    transfer = ToCuda(torch.device("cuda"))
    ring = Ring({"a": (1 << 26,)}, count=1)
    ring.reserve(1)
    transfer.register(ring.bytes_of(0))
    product = torch.randn(8192, 8192, device="cuda")
    for _ in range(30):
        product = product @ product
        product = product / product.norm()
    busy = torch.cuda.Event()
    busy.record()
    ring.buffer(0)["a"].fill_(3)
    with transfer.side_stream():
        copied = ring.buffer(0)["a"].to("cuda", non_blocking=True)
    assert not busy.query()
    transfer.hand_over([copied])
    assert (copied == 3).all()
    transfer.close()

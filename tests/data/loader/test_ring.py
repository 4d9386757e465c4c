import multiprocessing
import os

import pytest
import torch

from ivn.data.loader.ring import Ring, buffer_bytes

SHAPES = {"student": (2, 3, 4, 4, 3), "teacher": (2, 3, 8, 8, 3)}


def test_slots_and_consumers_lie_apart():
    ring = Ring(SHAPES, count=3)
    ring.reserve(3)
    for number, (slot, name) in enumerate((s, n) for s in range(3) for n in SHAPES):
        view = ring.buffer(slot)[name]
        assert view.shape == SHAPES[name] and view.dtype == torch.uint8
        view.fill_(number + 1)
    found = [ring.buffer(slot)[name].unique().tolist() for slot in range(3) for name in SHAPES]
    assert found == [[1], [2], [3], [4], [5], [6]]
    assert ring.bytes_of(1).numel() == buffer_bytes(SHAPES)
    assert ring.bytes_of(1)[0] == 3


def _mark(ring: Ring) -> None:
    ring.buffer(1)["teacher"][1] = 77


def test_another_process_writes_to_the_same_memory():
    ring = Ring(SHAPES, count=2)
    ring.reserve(2)
    process = multiprocessing.get_context("spawn").Process(target=_mark, args=(ring,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (ring.buffer(1)["teacher"][1] == 77).all()
    assert not ring.buffer(1)["teacher"][0].any() and not ring.buffer(0)["teacher"].any()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate")
def test_memory_is_taken_when_it_is_reserved_and_given_back_at_the_end():
    ring = Ring({"a": (1 << 26,)}, count=1000)
    taken = [os.fstat(ring._file).st_blocks * 512]
    ring.reserve(1)
    taken.append(os.fstat(ring._file).st_blocks * 512)
    assert taken == [0, 1 << 26]
    file = ring._file
    ring.__del__()
    with pytest.raises(OSError):
        os.fstat(file)
    ring._file = os.open(os.devnull, os.O_RDONLY)  # which its own end may close


def test_no_room_is_an_error_and_not_the_end_of_a_process(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        Ring(SHAPES, count=2).reserve(1)

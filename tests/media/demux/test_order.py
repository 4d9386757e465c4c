"""Headers tell the order of display, or that they do not."""

import random
from types import SimpleNamespace

import pytest

from ivn.media.container import opened
from ivn.media.demux.order import order_reader
from tests.media.decode.clips import KINDS, write_kind

pytest.importorskip("av")


def stream(name, extra=b""):
    codec = SimpleNamespace(canonical_name=name, intra_only=False)
    return SimpleNamespace(codec_context=SimpleNamespace(codec=codec, extradata=extra))


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_ascend_as_time_stamps_do(tmp_path, kind, suffix):
    if "vp" in kind and suffix == ".ts":
        pytest.skip("no such codec in this container")
    with opened(write_kind(tmp_path / f"a{suffix}", kind, count=30)) as (_, stream, packets):
        read = order_reader(stream)
        numbers = {packet.pts: read(bytes(packet)) for packet in packets}
    ordered = [numbers[time] for time in sorted(numbers)]
    assert len(ordered) == 30 and sorted(set(ordered)) == ordered


def test_pictures_that_no_header_places_have_no_number():
    vop = b"\0\0\1\xb6" + bytes(40)
    read = order_reader(stream("mpeg4"))
    assert read(b"\0\0\1\xb6\x40" + bytes(40)) is None  # made from one that never came
    assert read(vop) is not None
    assert read(vop + vop) is None
    assert read(b"\0\0\1\xb6" + bytes(5)) is None
    assert order_reader(stream("vc1")) is None
    field = order_reader(stream("h264"))
    assert field(b"\0\0\1\x65\x88\x84") is None  # its parameter sets never came


def test_damaged_headers_end_in_no_error(tmp_path):
    draw = random.Random(0)
    for kind in ("pyramid", "hevc", "interlaced"):
        with opened(write_kind(tmp_path / f"{kind}.mkv", kind, count=6)) as (_, found, packets):
            name, extra = found.codec_context.codec.canonical_name, found.codec_context.extradata
            data = [bytes(packet)[:200] for packet in packets]
        for _ in range(300):
            damaged = bytearray(extra)
            damaged[draw.randrange(len(extra))] = draw.randrange(256)
            read = order_reader(stream(name, bytes(damaged)))
            for packet in data:
                changed = bytearray(packet)
                changed[draw.randrange(min(40, len(changed)))] = draw.randrange(256)
                read(bytes(changed[: draw.randrange(200)]))

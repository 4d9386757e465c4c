"""Damaged videos and tars by number: the same number gives the same bytes, whatever came before.

    mutant(17, videos, secret).data     # what test_fuzz.py says of number 17

All is drawn from ``random.Random(number)``. Every fourth is a tar, every eighth no video at all.
"""

import functools
import gzip
import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ivn.media.source import VIDEO_SUFFIXES
from tests.media.decode.clips import write_kind
from tests.media.videos import noise, write_mp4, write_video

# What players of MP4 look for. Sizes stand before the names, numbers behind them.
BOXES = (
    *(b"ftyp", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mdat", b"edts", b"mvhd", b"tkhd"),
    *(b"mdhd", b"hdlr", b"stsd", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"elst"),
)
NAMES = ("{}", "a b {}", 'it\'s "{}"', "new\nline {}", "%03d {}", "concat:{}|x", "caf\udce9 {}")
LARGE = (0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1)
BLOCK = 512


@dataclass(frozen=True)
class Mutant:
    """A file that somebody might have.

    Attributes:
        name: of the file.
        data: what is in it.
        how: it came to be.
    """

    name: str
    data: bytes
    how: str


def write_videos(folder: Path) -> list[Path]:
    """Small videos to damage, of several codecs and containers."""
    kinds = {"plain": ".mp4", "pyramid": ".mkv", "hevc": ".mp4", "vp8": ".webm", "vp9": ".webm"}
    made = [
        write_kind(folder / f"{kind}{suffix}", kind, count=24) for kind, suffix in kinds.items()
    ]
    made += [write_kind(folder / "plain.ts", "plain", count=24)]
    made += [write_mp4(folder / f"mpeg4{suffix}", noise(20)) for suffix in (".mp4", ".avi")]
    made += [write_video(folder / "flv1.flv", noise(20), codec="flv", pix_fmt="yuv420p")]
    return [*made, write_video(folder / "still.gif", noise(6), codec="gif", pix_fmt="rgb8")]


def mutant(number: int, videos: Sequence[Path], secret: Path) -> Mutant:
    """The file of this number; ``secret`` is one that nothing in it may lead to."""
    draw = random.Random(number)
    video = draw.choice(videos)
    if number % 4 == 3:
        change = draw.choice((*TAR_CHANGES, *CHANGES))
        data = change(draw, tar_of(draw, videos, secret))
        return Mutant(f"{number}.tar", data, f"{change.__name__} of a tar")
    name = draw.choice(NAMES).format(number)
    if number % 8 == 6:
        what = draw.choice(NO_VIDEOS)
        suffix = draw.choice(VIDEO_SUFFIXES)
        return Mutant(name + suffix, what(secret), f"{what.__name__} named {suffix}")
    change = draw.choice(CHANGES)
    data = change(draw, video.read_bytes())
    if change is joined:
        data += draw.choice(videos).read_bytes()
    suffix = draw.choice(VIDEO_SUFFIXES) if draw.random() < 0.2 else video.suffix
    return Mutant(name + suffix, data, f"{change.__name__} of {video.name} named {suffix}")


def flipped(draw: random.Random, data: bytes) -> bytes:
    """1 to 1000 bits."""
    return _flipped(draw, data, 0, len(data))


def flipped_at_an_end(draw: random.Random, data: bytes) -> bytes:
    """Where headers are."""
    stop = min(2000, len(data))
    start = draw.choice((0, len(data) - stop))
    return _flipped(draw, data, start, start + stop)


def _flipped(draw: random.Random, data: bytes, start: int, stop: int) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 8, 64, 1000))):
        changed[draw.randrange(start, stop)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut_off(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data))]


def cut_out(draw: random.Random, data: bytes) -> bytes:
    start, stop = _range(draw, data)
    return data[:start] + data[stop:]


def doubled(draw: random.Random, data: bytes) -> bytes:
    start, stop = _range(draw, data)
    return data[:stop] + data[start:]


def zeroed(draw: random.Random, data: bytes) -> bytes:
    start, stop = _range(draw, data)
    return data[:start] + bytes(stop - start) + data[stop:]


def swapped(draw: random.Random, data: bytes) -> bytes:
    start, stop = _range(draw, data)
    middle = draw.randint(start, stop)
    return data[:start] + data[middle:stop] + data[start:middle] + data[stop:]


def _range(draw: random.Random, data: bytes) -> tuple[int, int]:
    start = draw.randrange(len(data))
    return start, min(len(data), start + draw.choice((1, 16, 500, 20_000)))


def resized(draw: random.Random, data: bytes) -> bytes:
    """A box of an MP4 that lies about its size; of others, four bytes near the start."""
    places = [data.find(box) - 4 for box in BOXES if data.find(box) >= 4]
    place = draw.choice(places or list(range(min(600, len(data) - 4))))
    return _written(data, place, draw.choice((*LARGE, draw.randrange(2**32))))


def claiming(draw: random.Random, data: bytes) -> bytes:
    """Numbers in a header that are far too large: sizes of frames, times, counts."""
    places = [data.find(box) + 4 for box in BOXES if data.find(box) >= 0] or [0]
    place = draw.choice(places) + draw.randrange(min(100, len(data)))
    for _ in range(draw.choice((1, 1, 4))):
        data = _written(data, min(place, len(data) - 4), draw.choice(LARGE))
        place += draw.choice((2, 4, 8))
    return data


def joined(draw: random.Random, data: bytes) -> bytes:
    """To be followed by another."""
    del draw
    return data


def _written(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + struct.pack(">I", value) + data[place + 4 :]


CHANGES = (
    *(flipped, flipped, flipped_at_an_end, cut_off, cut_out, doubled, zeroed, swapped, resized),
    *(claiming, joined),
)


def text(_: Path) -> bytes:
    return b"404: the video you want is not here\n" * 50


def html(_: Path) -> bytes:
    return b"<!DOCTYPE html><html><body><video src='a.mp4'></video></body></html>\n"


def nothing(_: Path) -> bytes:
    return b""


def zeros(_: Path) -> bytes:
    return bytes(5000)


def picture(_: Path) -> bytes:
    file = io.BytesIO()
    from PIL import Image

    Image.fromarray(noise(1)[0]).save(file, "png")
    return file.getvalue()


class _Harm:
    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self):
        return os.unlink, (str(self._place),)


def pickled(secret: Path) -> bytes:
    """Removes the secret if anybody unpickles it."""
    return pickle.dumps(_Harm(secret))


@functools.cache
def bomb(_: Path) -> bytes:
    """A zip of 64 MB of zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.mp4", bytes(2**26))
    return file.getvalue()


@functools.cache
def packed_bomb(_: Path) -> bytes:
    return gzip.compress(bytes(2**26), 1)


def playlist(secret: Path) -> bytes:
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    return lines.format(secret, "http://127.0.0.1:9/a.mp4").encode()


def script(secret: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{secret}'\nfile 'http://127.0.0.1:9/a.mp4'\n".encode()


def session(_: Path) -> bytes:
    return b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"


NO_VIDEOS = (
    *(text, html, nothing, zeros, picture, pickled, bomb, packed_bomb, playlist, script, session),
)


def tar_of(draw: random.Random, videos: Sequence[Path], secret: Path) -> bytes:
    """Two samples, and some members that no one should have."""
    one, other = draw.choice(videos), draw.choice(videos)
    members = [
        _member(f"k/1{one.suffix}", one.read_bytes()),
        _member("k/1.json", b'{"label": "wave", "path": "/etc/passwd"}'),
        _member(f"k/2{other.suffix}", other.read_bytes()),
        _member("k/2.txt", b"two"),
    ]
    hostile = (
        *(_member(name) for name in ("../../x.mp4", f"{secret}.mp4", "a/../../x.mp4")),
        *(_member("caf\udce9.mp4"), _member("k/1.mp4"), _member(f"{'x' * 300}.mp4")),
        _member("link.mp4", b"", type=tarfile.SYMTYPE, linkname=str(secret)),
        _member("hard.mp4", b"", type=tarfile.LNKTYPE, linkname=str(secret)),
        _member("hard.mp4", b"", type=tarfile.LNKTYPE, linkname="k/1.mp4"),
        _member("zero.mp4", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        _member("pipe.mp4", b"", type=tarfile.FIFOTYPE),
        _member("sparse.mp4", type=tarfile.GNUTYPE_SPARSE),
        _member("path.mp4", pax_headers={"path": "../../x.mp4"}),
        _member("size.mp4", pax_headers={"size": str(2**42)}),
        _member("real.mp4", pax_headers={"GNU.sparse.realsize": str(2**42)}),
        *(_member("bomb.mp4", bomb(secret)), _member("gz.mp4", packed_bomb(secret))),
        _member("in.mp4", playlist(secret)),
    )
    members += draw.sample(hostile, 3)
    draw.shuffle(members)
    file = io.BytesIO()
    form = draw.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _member(name: str, data: bytes = b"video", **attributes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, data


def whole(draw: random.Random, data: bytes) -> bytes:
    """Its members are bad enough."""
    del draw
    return data


def compressed(draw: random.Random, data: bytes) -> bytes:
    """Which its name does not tell."""
    del draw
    return gzip.compress(data, 1)


def flipped_in_a_header(draw: random.Random, data: bytes) -> bytes:
    place = draw.choice(_headers(data))
    return (
        data[:place] + _flipped(draw, data[place : place + BLOCK], 0, BLOCK) + data[place + 512 :]
    )


def lying(draw: random.Random, data: bytes) -> bytes:
    """A header, otherwise right, that claims another size or is of another kind."""
    place = draw.choice(_headers(data))
    header = bytearray(data[place : place + BLOCK])
    if draw.random() < 0.3:
        header[156:157] = draw.choice((b"1", b"2", b"3", b"6", b"L", b"K", b"S", b"x", b"g"))
    else:
        size = draw.choice((2**33, 2**41, 2**62, 2**70, -1, -512, -(2**70), len(data), 1))
        sign = b"\x80" if size >= 0 else b"\xff"
        header[124:136] = sign + (size % 2**88).to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    return data[:place] + bytes(header) + data[place + BLOCK :]


def _headers(data: bytes) -> list[int]:
    return [place for place in range(0, len(data), BLOCK) if data[place + 257 :][:5] == b"ustar"]


TAR_CHANGES = whole, whole, compressed, flipped_in_a_header, flipped_in_a_header, lying, lying

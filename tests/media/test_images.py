"""Images are videos of one frame."""

import struct
import tarfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.reader import read_clip
from ivn.errors import DecodeError
from ivn.keys import make_keys
from ivn.media.decode import decode
from ivn.media.facts import read_facts
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.media.storage import name_of
from tests.data.loader.test_loader import assert_equal
from tests.media.videos import CASES

pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")
SPECS = {"student": ClipSpec(4, 28), "teacher": ClipSpec(8, 56)}
CONFIG = DataConfig(seed=3)


def picture(height=90, width=130, tint=0):
    row, column = np.mgrid[0:height, 0:width]
    return np.stack([column, 2 * row, np.full_like(row, tint)], 2).astype(np.uint8)


@pytest.fixture
def saved(tmp_path):
    def save(name, pixels=None, mode="RGB", **options):
        pixels = picture() if pixels is None else pixels
        Image.fromarray(pixels).convert(mode).save(tmp_path / name, **options)
        return Source(str(tmp_path / name))

    return save


@pytest.mark.parametrize(
    ("name", "mode", "options", "error"),
    [
        ("a.png", "RGB", {}, 0),
        ("a.png", "RGBA", {}, 0),
        ("a.png", "P", {}, 0),
        ("a.webp", "RGB", {"lossless": True}, 0),
        ("a.webp", "RGB", {"quality": 95}, 6),
        ("a.jpg", "RGB", {"quality": 95}, 6),
        ("a.JPEG", "L", {"quality": 95}, 6),
    ],
)
def test_an_image_is_what_pillow_reads(saved, name, mode, options, error):
    source = saved(name, mode=mode, **options)
    (frame,) = decode(source, lambda total: [0] * total)
    with Image.open(source.path) as image:
        theirs = torch.from_numpy(np.array(image.convert("RGB")))
    assert frame.shape == theirs.shape
    # Chroma at half the resolution is enlarged otherwise: smooth pictures differ little.
    assert (frame.int() - theirs.int()).abs().max() <= error


def test_an_image_is_shown_upright(saved):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (frame,) = decode(saved("a.jpg", exif=exif, quality=95), lambda total: [0])
    turned = torch.from_numpy(np.rot90(picture(), -1).copy())
    assert frame.shape == turned.shape
    assert (frame.int() - turned.int()).abs().float().mean() < 3


@pytest.mark.parametrize("offsets", ["correct", "released"])
def test_every_frame_of_its_clip_is_the_image_cropped_alike(saved, offsets):
    config = replace(CONFIG, frame_offsets=offsets)
    for key in make_keys(1, 0, range(4)).split(1):
        views = read_clip(saved("a.png"), SPECS, config, key)
        assert views["student"].shape == (4, 28, 28, 3)
        assert views["teacher"].shape == (8, 56, 56, 3)
        for view in views.values():
            assert (view == view[:1]).all()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path, side=60_000):
    """A PNG of a few kB that says it is 60,000 pixels wide and high."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return Source(str(path))


def test_broken_images_and_bombs_are_told_in_a_line(tmp_path, saved):
    whole = saved("whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[:20])
    (tmp_path / "text.png").write_text("not found")
    (tmp_path / "empty.webp").touch()
    for source in [
        bomb(tmp_path / "bomb.png"),
        *(Source(str(tmp_path / name)) for name in ("half.jpg", "text.png", "empty.webp")),
    ]:
        with pytest.raises(DecodeError, match=source.path) as caught:
            read_clip(source, SPECS, CONFIG, make_keys(0, 0, [0]))
        assert "\n" not in str(caught.value)
    read_clip(whole, SPECS, CONFIG, make_keys(0, 0, [0]))


@pytest.mark.parametrize("images", ["as_listed", "spread", "together"])
def test_batches_of_videos_and_images_are_the_same_from_any_number_of_workers(saved, images):
    sources = [
        *list_clips(BUNDLED_CLIPS)[:6],
        *(saved(f"{tint}.png", picture(tint=tint)) for tint in range(0, 250, 60)),
    ]
    config = replace(CONFIG, images=images, repeats=2)

    def batches(workers):
        with ClipLoader(sources, SPECS, config, batch_size=8, workers=workers) as loader:
            return [next(loader) for _ in range(4)]

    alone = batches(0)
    assert_equal(batches(2), alone)
    if images != "as_listed":
        still = [(clip == clip[:1]).all() for batch in alone for clip in batch.clips["teacher"]]
        assert sum(still) == 4 * 2


def test_images_are_listed_as_videos_are_but_not_beside_them(tmp_path, saved):
    images = [saved("b.png"), saved("a.jpg"), saved("c d.webp")]
    expected = sorted(image.path for image in images)
    assert [source.path for source in list_clips(tmp_path)] == expected
    assert list_clips(images[0].path) == [images[0]]
    (tmp_path / "list.txt").write_text("c d.webp\nb.png 3\n")
    listed = list_clips(tmp_path / "list.txt")
    assert [(source.path, source.label) for source in listed] == [
        (images[2].path, None),
        (images[0].path, "3"),
    ]
    (tmp_path / "film.mp4").touch()
    assert [source.path for source in list_clips(tmp_path)] == [str(tmp_path / "film.mp4")]


def test_an_animated_webp_is_refused_with_what_it_is(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(CASES / "moving.webp", "moving.webp")
    member = Source(str(tmp_path / "a.tar"), member="moving.webp")
    for source in (Source(str(CASES / "moving.webp")), member):
        for read in (read_facts, lambda one: decode(one, range)):
            with pytest.raises(DecodeError, match="an animated WebP, which is not read") as caught:
                read(source)
            assert name_of(source) in str(caught.value)
    # Another that is broken is not called so.
    (tmp_path / "cut.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8X")
    with pytest.raises(DecodeError, match=r"cannot be decoded|no video") as caught:
        read_facts(Source(str(tmp_path / "cut.webp")))
    assert "animated WebP" not in str(caught.value)

"""Chroma lies where it was encoded, whatever the file's sides and bits."""

import numpy as np
import pytest
import torch

from ivn.media.decode import decode, torchcodec
from tests.media.decode.clips import needs
from tests.media.videos import noise, write_video

av = pytest.importorskip("av")

# Where the chroma of a block of 2 x 2 pixels lies, in pixels right and down of the first of them.
SITES = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0)}


def original(height, width):
    """RGB ``[H, W, 3]`` with the edges of many discs of all colours."""
    rng = np.random.default_rng(0)
    image = np.full((64, 96, 3), 90.0)
    row, column = np.mgrid[0:64, 0:96]
    for x, y, radius, *colour in rng.uniform(0, 1, (60, 6)):
        inside = (column - 96 * x) ** 2 + (row - 64 * y) ** 2 < (2 + 12 * radius) ** 2
        image[inside] = 20 + 215 * np.array(colour)
    return image[:height, :width].astype(np.uint8)


def planes(rgb, site, bits):
    """Y, U, V of BT.601 at half the resolution: means around where the chroma is to lie."""
    red, green, blue = np.moveaxis(rgb / 255.0, 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    made = [16 + 219 * luma]
    for difference in ((blue - luma) / 1.772, (red - luma) / 1.402):
        for axis, place in ((1, SITES[site][0]), (0, SITES[site][1])):
            lines = np.moveaxis(difference, axis, 0)
            lines = np.pad(lines, ((1, 2), (0, 0)), mode="edge")
            at = 1 + 2 * np.arange((len(lines) - 2) // 2)
            weights = (0.0, 0.5, 0.5) if place else (0.25, 0.5, 0.25)
            lines = sum(
                weight * lines[at + step] for step, weight in zip((-1, 0, 1), weights, strict=True)
            )
            difference = np.moveaxis(lines, 0, axis)
        made.append(128 + 224 * difference)
    kind, scale = (np.uint8, 1) if bits == 8 else (np.uint16, 4)
    return b"".join((scale * plane).round().astype(kind).tobytes() for plane in made)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.fixture
def written(tmp_path):
    """Writes a lossless file of 4:2:0 that says where its chroma lies, and gives the original."""

    def write(width, height, bits, site):
        rgb, file = original(height, width), tmp_path / "a.mkv"
        pixel_format = "yuv420p" if bits == 8 else "yuv420p10le"
        frame = av.VideoFrame(width, height, pixel_format)
        data, place = planes(rgb, site, bits), 0
        for plane in frame.planes:
            line = plane.width * ((bits + 7) // 8)
            lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            for number in range(plane.height):
                part = np.frombuffer(data[place : place + line], np.uint8)
                lines[number, :line], place = part, place + line
        assert place == len(data)
        with av.open(str(file), "w") as container:
            options = {"chroma_sample_location": site}
            stream = container.add_stream("ffv1", rate=10, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return file, rgb

    return write


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(
    ("bits", "sides"), [(8, (95, 63)), (8, (95, 64)), (10, (96, 64)), (10, (95, 63))]
)
def test_interpolated_chroma_is_near_the_original_wherever_it_lies(written, bits, sides, site):
    """One colour for each block comes to 23.3 to 24.7 dB of this image, chroma that is half a pixel
    aside to 24.4 or less, and that of 48 columns stretched over 95 pixels to 23.9 or less."""
    file, rgb = written(*sides, bits, site)
    (frame,) = decode(file, range).numpy()
    assert frame.shape == rgb.shape
    assert psnr(frame, rgb) > 24.75


@needs(torchcodec)
def test_torchcodec_leaves_odd_sides_whose_chroma_it_would_stretch(tmp_path):
    options = {"codec": "libvpx-vp9", "pix_fmt": "yuv420p"}
    file = write_video(tmp_path / "a.webm", noise(3, 47, 63), **options)
    assert torch.equal(decode(file, range, backend="torchcodec"), decode(file, range))
    for width, height in ((63, 48), (64, 47)):
        assert "odd" in torchcodec.unfit("vp9", "yuv420p", width, height)
    assert not torchcodec.unfit("vp9", "yuv420p", 64, 48)
    assert not torchcodec.unfit("vp9", "yuv444p", 63, 47)


def test_frames_that_change_size_are_scaled_though_sides_are_odd(tmp_path):
    options = {"codec": "mpeg2video", "pix_fmt": "yuv420p", "rate": 25}
    parts = [noise(3, 47, 63) // 4 + 100, noise(3, 64, 96) // 4 + 100]
    files = [write_video(tmp_path / f"{len(one[0])}.ts", one, **options) for one in parts]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(file.read_bytes() for file in files))
    frames = decode(both, range)
    assert frames.shape[1:] == (47, 63, 3) and len(frames) > 3
    assert (frames.float().mean((1, 2, 3)) - 132).abs().max() < 5

"""What is looked for in folders by its name is decoded, and what is passed over is documented."""

import re

import numpy as np
import pytest

from ivn.data.manifest.listing import list_clips
from ivn.media.decode import decode
from ivn.media.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from tests.media.videos import numbered_frames
from tests.processes import ROOT

av = pytest.importorskip("av")

# FFmpeg's name of the container that files of this suffix are, and a codec that is usual in it.
MADE = {
    ".3g2": ("3g2", "mpeg4"),
    ".3gp": ("3gp", "mpeg4"),
    ".apng": ("apng", "apng"),
    ".asf": ("asf", "wmv2"),
    ".avi": ("avi", "mpeg4"),
    ".divx": ("avi", "mpeg4"),
    ".dv": ("dv", "dvvideo"),
    ".f4v": ("f4v", "libx264"),
    ".flv": ("flv", "flv"),
    ".gif": ("gif", "gif"),
    ".m2t": ("mpegts", "mpeg2video"),
    ".m2ts": ("mpegts", "libx264"),
    ".m4v": ("mp4", "mpeg4"),
    ".mkv": ("matroska", "libx264"),
    ".mov": ("mov", "libx264"),
    ".mp4": ("mp4", "libx264"),
    ".mpe": ("mpeg", "mpeg1video"),
    ".mpeg": ("mpeg", "mpeg1video"),
    ".mpg": ("mpeg", "mpeg1video"),
    ".mts": ("mpegts", "libx264"),
    ".mxf": ("mxf", "mpeg2video"),
    ".ogm": ("ogg", "libvpx"),
    ".ogv": ("ogg", "libvpx"),
    ".qt": ("mov", "mpeg4"),
    ".rm": ("rm", "rv10"),
    ".rmvb": ("rm", "rv20"),
    ".ts": ("mpegts", "libx264"),
    ".vob": ("vob", "mpeg2video"),
    ".webm": ("webm", "libvpx"),
    ".wmv": ("asf", "wmv2"),
    ".y4m": ("yuv4mpegpipe", "wrapped_avframe"),
}
PIXELS = {"apng": "rgb24", "gif": "rgb8"}


@pytest.mark.parametrize("suffix", MADE)
def test_a_video_of_each_suffix_is_found_and_decoded(tmp_path, suffix):
    form, codec = MADE[suffix]
    height, width = (576, 720) if codec == "dvvideo" else (144, 176)
    with av.open(str(tmp_path / f"a{suffix.upper()}"), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS.get(codec, "yuv420p")
        for image in numbered_frames(6, height, width, step=15):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image + 30, format="rgb24")))
        container.mux(stream.encode(None))
    (source,) = list_clips(tmp_path)
    means = decode(source, range).float().mean((1, 2, 3)).numpy()
    assert np.abs(means - (30 + 15 * np.arange(6))).max() < 4


def test_all_suffixes_are_tried_and_documented():
    assert tuple(MADE) == VIDEO_SUFFIXES
    about = (ROOT / "docs" / "data.md").read_text()
    for suffixes in (VIDEO_SUFFIXES, IMAGE_SUFFIXES):
        listed = " ".join(f"`{suffix}`" for suffix in suffixes)
        assert listed in re.sub(r"\s+", " ", about)

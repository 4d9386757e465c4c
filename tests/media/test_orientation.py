"""Frames are shown as their display matrix or EXIF says: turned, and mirrored too."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from ivn.media.decode import decode, frames_in_order, pyav, torchcodec
from ivn.media.facts import read_facts
from ivn.media.orientation import Orientation, orientation_of
from ivn.media.source import Source
from tests.media.decode.clips import needs, write_kind
from tests.media.videos import CASES, UPRIGHT, noise, turn_on_display

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")

# Degrees anticlockwise, and whether left and right are exchanged then, of EXIF's orientations.
TURNS = {
    1: (0, False),
    2: (0, True),
    3: (180, False),
    4: (180, True),
    5: (270, True),
    6: (270, False),
    7: (90, True),
    8: (90, False),
}


def every(total):
    return range(total)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Orientation -> an MP4 that has it, made once; and its frames as stored."""
    folder = tmp_path_factory.mktemp("shown")
    plain = write_kind(folder / "1.mp4", "plain", count=6)
    files = {1: plain}
    for orientation in range(2, 9):
        files[orientation] = folder / f"{orientation}.mp4"
        files[orientation].write_bytes(plain.read_bytes())
        turn_on_display(files[orientation], orientation)
    return files, decode(plain, every).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_video_is_shown_as_its_display_matrix_says(shown, orientation):
    files, stored = shown
    expected = np.stack([UPRIGHT[orientation](frame) for frame in stored])
    file = files[orientation]
    assert np.array_equal(decode(file, every), expected)
    assert np.array_equal(torch.stack([one.image() for one in frames_in_order(file)]), expected)
    facts = read_facts(Source(str(file)))
    assert (facts.width, facts.height) == (expected.shape[2], expected.shape[1])
    assert (facts.rotation, facts.mirrored) == TURNS[orientation]


@needs(torchcodec)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_torchcodec_shows_what_it_can_turn_and_leaves_what_is_mirrored(
    shown, orientation, monkeypatch
):
    files, _ = shown
    file, left = files[orientation], []
    expected = decode(file, every)
    reference = pyav.decode
    monkeypatch.setattr(pyav, "decode", lambda *of: left.append(0) or reference(*of))
    assert torch.equal(decode(file, every, backend="torchcodec"), expected)
    assert bool(left) == TURNS[orientation][1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_what_pillow_shows(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    row, column = np.mgrid[0:48, 0:80]
    picture = np.stack([3 * column, 5 * row, 200 * (column > 40)], 2).astype(np.uint8)
    Image.fromarray(picture).save(file, exif=exif, lossless=True, quality=95, subsampling=0)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    (frame,) = decode(file, every).numpy()
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).max() <= (3 if suffix == "jpg" else 0)
    facts = read_facts(Source(str(file)))
    assert (facts.rotation, facts.mirrored) == TURNS[orientation]
    assert (facts.height, facts.width) == expected.shape[:2]


@pytest.mark.parametrize(("name", "count"), [("mirrored.mp4", 48), ("mirrored.jpg", 1)])
def test_a_mirrored_file_has_its_left_at_the_right(name, count):
    frames = decode(CASES / name, every).float()
    squares = torch.tensor([20.0 + 3 * i for i in range(count)])
    assert (frames[:, 4:12, -12:-4].mean((1, 2, 3)) - squares).abs().max() < 3
    assert (frames[:, 4:12, 4:12].mean((1, 2, 3)) - squares).abs().max() > 10
    facts = read_facts(Source(str(CASES / name)))
    assert (facts.rotation, facts.mirrored) == (0, True)


def with_messages(path, **options):
    """H.264 whose key frames carry display orientation in a message; the container has none."""
    plain = write_kind(path.with_suffix(".plain.mp4"), "plain", count=6)
    told = ":".join(f"{name}={value}" for name, value in options.items())
    with av.open(str(plain)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        name = f"h264_metadata=display_orientation=insert:{told}"
        messages = av.bitstream.BitStreamFilterContext(name, given.streams.video[0], stream)
        for packet in given.demux(video=0):
            for one in messages.filter(packet if packet.size else None):
                one.stream = stream
                made.mux(one)
    return path, decode(plain, every).numpy()


@pytest.mark.parametrize(
    ("options", "orientation"),
    [({"rotate": 180}, 3), ({"rotate": 0, "flip": "horizontal"}, 2), ({"flip": "vertical"}, 4)],
)
def test_a_message_in_the_stream_turns_its_frame_whoever_decodes(tmp_path, options, orientation):
    file, expected = with_messages(tmp_path / "a.mp4", **options)
    # FFmpeg's decoder has it that a message is about its own frame.
    expected[0] = UPRIGHT[orientation](expected[0])
    assert np.array_equal(decode(file, every), expected)
    if not torchcodec.BACKEND.available():
        assert np.array_equal(decode(file, every, backend="torchcodec"), expected)


def test_frames_that_are_turned_in_mid_stream_come_at_the_size_of_the_first(tmp_path):
    file, stored = with_messages(tmp_path / "a.mp4", rotate=90)
    frames = decode(file, every)
    assert frames.shape == (6, 96, 64, 3)
    assert np.array_equal(frames[0], UPRIGHT[8](stored[0]))
    # Not turned, and so scaled: what is left of it is its mean colour.
    assert np.abs(frames[3].float().mean((0, 1)) - stored[3].mean((0, 1))).max() < 3


def test_a_matrix_of_nothing_turns_nothing(tmp_path):
    file = write_kind(tmp_path / "a.mp4", "plain", count=2)
    stored = decode(file, every)
    data = bytearray(file.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 36] = bytes(36)
    file.write_bytes(data)
    assert torch.equal(decode(file, every), stored)


def test_an_orientation_turns_first_and_mirrors_then():
    image = noise(1)[0]
    for exif, (degrees, mirrored) in TURNS.items():
        orientation = Orientation(degrees // 90, mirrored)
        assert np.array_equal(orientation.upright(image), UPRIGHT[exif](image))
        assert orientation.on_its_side == (exif > 4)


def test_a_frame_without_a_matrix_is_shown_as_it_is():
    frame = av.VideoFrame.from_ndarray(noise(1)[0], format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 10)
    assert orientation_of(frame) == Orientation()

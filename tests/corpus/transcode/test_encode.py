"""Clips that are made anew show what the originals show, when they show it."""

import ctypes
import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ivn.corpus.transcode.clip import columns_of
from ivn.corpus.transcode.encode import chosen, encode
from ivn.corpus.transcode.encoding import Encoding, even_size
from ivn.corpus.transcode.verify import verify
from ivn.data.sampling.frames import centre_frame_numbers
from ivn.errors import DecodeError
from ivn.media.decode import count_frames, decode, frames_in_order
from ivn.media.orientation import Orientation, orientation_of
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.media.videos import (
    CASES,
    UPRIGHT,
    broken_files,
    noise,
    numbered_frames,
    turn_on_display,
    write_mp4,
    write_sound,
    write_video,
    write_with_a_jump,
)

av = pytest.importorskip("av")

LOSSLESS = Encoding("h264", 0, 0, 5)
GOOD = Encoding("h264", 12, 0, 5)
CODECS = {"h264": 12, "vp9": 12, "mjpeg": 2}


@pytest.fixture
def made(tmp_path):
    """Makes a clip of a source, as everybody does: encoded, then verified."""

    def make(source, encoding=LOSSLESS, frames=0):
        source = source if isinstance(source, Source) else Source(str(source))
        path = str(tmp_path / "made.mp4")
        put = encode(source, path, encoding, frames=frames)
        verify(path, put, source.path)
        return path

    return make


def everything(video):
    return decode(video, range)


def times(video):
    return [shown.time for shown in frames_in_order(video)]


def difference(one, other):
    assert one.shape == other.shape
    return (one.float() - other.float()).abs().mean().item()


def keys(path):
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [packet.is_keyframe for packet in sorted(packets, key=lambda packet: packet.pts)]


@pytest.mark.parametrize("clip", ["asl-again.mp4", "asl-bird.mp4"])
def test_a_lossless_copy_of_a_real_clip_has_its_very_pixels(made, clip):
    original = str(BUNDLED_CLIPS / clip)
    copy = made(original)
    assert torch.equal(everything(copy), everything(original))
    assert times(copy) == pytest.approx(times(original), abs=1e-3)
    with av.open(copy) as container:
        assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_shows_what_the_original_shows(made, codec):
    original = BUNDLED_CLIPS / "asl-again.mp4"
    encoding = Encoding(codec, CODECS[codec], 0, 4)
    copy = made(Source(str(original), end=0.6), encoding)
    whole = decode(Source(str(original), end=0.6), range)
    assert difference(everything(copy), whole) < 2
    with av.open(copy) as container:
        assert container.streams.video[0].codec_context.name == codec
    found = [i for i, key in enumerate(keys(copy)) if key]
    assert found == list(range(len(whole))) if codec == "mjpeg" else set(found) >= {0, 4, 8}


def test_every_frame_is_a_key_frame_where_that_is_asked_for(made):
    assert all(keys(made(BUNDLED_CLIPS / "asl-again.mp4", Encoding("h264", 20, 64, 1))))


def test_the_short_side_is_resized_and_nothing_is_enlarged(tmp_path, made):
    video = write_video(tmp_path / "a.mkv", noise(3, 150, 200))
    assert everything(made(video, Encoding("h264", 20, 64, 5))).shape == (3, 64, 86, 3)
    assert everything(made(video, Encoding("h264", 20, 400, 5))).shape == (3, 150, 200, 3)


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((1920, 1080), 256, (456, 256)),
        ((1080, 1920), 256, (256, 456)),
        ((340, 256), 256, (340, 256)),
        ((341, 257), 0, (340, 256)),
        ((7680, 33), 32, (7448, 32)),
        ((2, 2), 256, (2, 2)),
    ],
)
def test_sizes_are_even_and_keep_their_aspect(size, short, expected):
    assert even_size(*size, short) == expected


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (70000, 20)])
def test_sizes_that_no_encoder_takes_are_refused(size):
    with pytest.raises(ValueError, match=f"frames of {size[0]} x {size[1]} pixels would be"):
        even_size(*size, 0)


def test_an_odd_row_and_column_are_cut_off_and_no_pixel_moves(tmp_path, made):
    # Grey of a value each, for which lossless really is so through every format.
    frames = np.repeat(np.arange(10, 250, 2, dtype=np.uint8).reshape(1, 8, 15)[..., None], 3, 3)
    frames = frames.repeat(9, 1).repeat(7, 2)[:, :71]
    video = write_video(tmp_path / "a.mkv", frames)
    copy = everything(made(video))
    assert copy.shape == (1, 70, 104, 3)
    assert (copy[0].float() - torch.tensor(frames[0, :70, :104]).float()).abs().max() <= 1


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_or_mirrored_video_is_made_upright(tmp_path, made, orientation, odd):
    # Blocks large enough for chroma.
    frames = noise(3, 6, 9).repeat(8, 1).repeat(8, 2)
    frames = frames[:, : 47 if odd else 48, : 71 if odd else 72]
    video = (
        write_video(tmp_path / "a.mp4", frames, codec="libx264rgb", pix_fmt="rgb24", options={})
        if odd
        else write_mp4(tmp_path / "a.mp4", frames)
    )
    # The last lines as stored are cut off.
    stored = everything(video)[:, : len(frames[0]) // 2 * 2, : len(frames[0, 0]) // 2 * 2].numpy()
    expected = torch.from_numpy(np.stack([UPRIGHT[orientation](frame) for frame in stored]))
    turn_on_display(video, orientation)
    copy = made(video)
    assert difference(everything(copy), expected) < (8 if odd else 1)
    with av.open(copy) as container:
        assert orientation_of(next(container.decode(video=0))) == Orientation()


@pytest.mark.parametrize("name", ["mirrored.mp4", "mirrored.jpg"])
def test_the_copy_of_a_mirrored_file_shows_the_same_and_is_not_mirrored(made, name):
    copy = made(CASES / name)
    assert difference(everything(copy), everything(CASES / name)) < 1.5
    assert not columns_of(Path(copy))["mirrored"]


def write_uneven(path, shown):
    """Lossless frames that appear at given milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for at, image in zip(shown, numbered_frames(len(shown)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_frames_appear_when_they_did_at_a_variable_rate(tmp_path, made):
    shown = [0, 40, 200, 210, 900, 1000, 3000]
    video = write_uneven(tmp_path / "a.mkv", shown)
    for encoding in (LOSSLESS, GOOD, Encoding("vp9", 20, 0, 5)):
        copy = made(video, encoding)
        assert times(copy) == pytest.approx([at / 1000 for at in shown], abs=1e-3)


def test_a_frame_that_appears_a_day_later_still_does(tmp_path, made):
    copy = made(write_with_a_jump(tmp_path / "a.mkv", 5))
    assert times(copy)[-1] == pytest.approx(86400, abs=1)


def test_a_window_is_cut_and_begins_at_zero(tmp_path, made):
    video = write_video(tmp_path / "a.mkv", numbered_frames(20), pix_fmt="yuv420p", gop=8)
    source = Source(str(video), start=0.5, end=1.2)
    copy = made(source)
    assert torch.equal(everything(copy), decode(source, range))
    assert times(copy) == pytest.approx([0.1 * i for i in range(7)], abs=1e-3)


def test_frames_that_change_size_get_that_of_the_first(tmp_path, made):
    path = tmp_path / "a.ts"
    parts = []
    for number, size in enumerate([(48, 64), (96, 128)]):
        part = write_video(
            tmp_path / f"{number}.ts",
            noise(4, *size),
            codec="mpeg2video",
            pix_fmt="yuv420p",
            rate=25,
        )
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    assert everything(made(path)).shape[1:] == (48, 64, 3)


def test_sound_and_covers_are_left_out(tmp_path, made):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16000)
        for image in noise(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*sound.encode(frame), *sound.encode(None), *video.encode(None)])
    with av.open(made(tmp_path / "a.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("ffv1", "bgr0"), ("mjpeg", "yuvj420p"), ("ffv1", "yuv420p10le"), ("gif", "rgb8")],
)
def test_colours_stay_what_they_were(tmp_path, made, codec, pix_fmt):
    colours = np.array(
        [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(255, 255, 255), (0, 0, 0), (128, 64, 192)]],
        np.uint8,
    )
    frames = colours.repeat(32, 0).repeat(32, 1)[None].repeat(3, 0)
    suffix = "gif" if codec == "gif" else "mkv"
    video = write_video(tmp_path / f"a.{suffix}", frames, codec=codec, pix_fmt=pix_fmt)
    # A GIF is dithered, which chroma at half the size cannot follow.
    assert difference(everything(made(video, GOOD)), everything(video)) < (
        5 if suffix == "gif" else 2.5
    )


@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_the_matrix_of_colours_is_told(tmp_path, made, matrix):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = matrix
        for image in noise(2, 6, 8).repeat(8, 1).repeat(8, 2):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    original = tmp_path / "a.mkv"
    copy = made(original)
    assert torch.equal(everything(copy), everything(original))
    with av.open(copy) as container:
        assert next(container.decode(video=0)).colorspace == matrix


def test_of_some_frames_each_is_the_first_of_an_equal_segment(tmp_path, made):
    video = write_video(tmp_path / "a.mkv", numbered_frames(23), pix_fmt="yuv420p")
    copy = made(video, dataclasses.replace(LOSSLESS, gop=1), frames=5)
    numbers = [i * 23 // 5 for i in range(5)]
    assert torch.equal(everything(copy), decode(video, lambda _: numbers))
    assert times(copy) == pytest.approx([n / 10 for n in numbers], abs=1e-3)
    with av.open(copy) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.3, abs=1e-3)


def test_inference_sees_the_same_frames_of_the_kept_ones_as_of_all(made):
    original = str(BUNDLED_CLIPS / "asl-again.mp4")
    total = count_frames(original)
    copy = made(original, dataclasses.replace(LOSSLESS, gop=1), frames=32)
    of_kept = decode(copy, lambda n: centre_frame_numbers(n, 8))
    of_all = decode(original, lambda n: centre_frame_numbers(n, 8))
    assert count_frames(copy) == 32 < total
    assert torch.equal(of_kept, of_all)


def test_a_short_video_keeps_all_its_frames(tmp_path, made):
    video = write_video(tmp_path / "a.mkv", numbered_frames(4), pix_fmt="yuv420p")
    assert torch.equal(everything(made(video, frames=64)), everything(video))
    assert chosen(4, 64)[:4] == range(4)


def test_the_same_video_gives_the_same_bytes(tmp_path, made):
    original = Source(str(BUNDLED_CLIPS / "asl-again.mp4"), end=0.5)
    for codec in CODECS:
        encoding = Encoding(codec, CODECS[codec], 64, 4)
        once = Path(made(original, encoding)).read_bytes()
        assert Path(made(original, encoding)).read_bytes() == once


def test_broken_files_are_refused_by_name(tmp_path, made):
    for name, file in broken_files(tmp_path).items():
        with pytest.raises(DecodeError, match=str(file)):
            made(file)
            pytest.fail(name)


def test_a_video_without_frames_in_the_window_is_refused(tmp_path, made):
    video = write_mp4(tmp_path / "a.mp4", noise(10))
    with pytest.raises(DecodeError, match=r"a\.mp4"):
        made(Source(str(video), start=50.0, end=51.0))


def test_a_place_that_cannot_be_written_is_no_fault_of_the_video(tmp_path):
    video = write_mp4(tmp_path / "a.mp4", noise(10))
    with pytest.raises(OSError, match=r"no such file .*: .*no/made\.mp4"):
        encode(Source(str(video)), str(tmp_path / "no" / "made.mp4"), GOOD, frames=0)


def spoilt(put, **changes):
    return dataclasses.replace(put, **changes)


def test_what_is_not_as_it_was_put_in_is_found(tmp_path):
    video = write_video(tmp_path / "a.mkv", noise(12), pix_fmt="yuv420p")
    path = tmp_path / "made.mp4"
    put = encode(Source(str(video)), str(path), LOSSLESS, frames=0)
    verify(str(path), put, "a.mkv")
    wrong = {
        "12 frames, expected 13": spoilt(put, ticks=[*put.ticks, 9999]),
        "frame 0 is 64 x 48": spoilt(put, height=50),
        "frame 11 is at": spoilt(put, ticks=[*put.ticks[:-1], put.ticks[-1] + 50]),
        "long, expected": spoilt(put, end=put.end + 30),
        "frame 3 has other pixels": spoilt(
            put, digests=[*put.digests[:3], bytes(32), *put.digests[4:]]
        ),
    }
    for said, other in wrong.items():
        with pytest.raises(DecodeError, match=f"^a.mkv: its copy was made wrongly: .*{said}"):
            verify(str(path), other, "a.mkv")
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3 :] = bytes(len(data) - len(data) * 2 // 3)
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="made wrongly"):
        verify(str(path), spoilt(put, digests=[]), "a.mkv")


def test_a_sound_file_has_nothing_to_make(tmp_path, made):
    with pytest.raises(DecodeError, match="no video stream, only audio"):
        made(write_sound(tmp_path / "a.mp4"))


@pytest.fixture
def filled():
    """Has glibc fill what is allocated, and what is freed, with a byte; 0 leaves it as it is."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        pytest.skip("not glibc")
    yield lambda byte: libc.mallopt(_PERTURB, byte)
    libc.mallopt(_PERTURB, 0)


_PERTURB = -6  # of malloc.h


@pytest.mark.parametrize("codec", CODECS)
def test_a_clip_has_the_same_bytes_each_time_whatever_was_in_memory(tmp_path, filled, codec):
    # x264 has code for AVX-512 that reads what nobody wrote where a row ends between registers.
    clip = BUNDLED_CLIPS / "bolt-multi-size-detection.mp4"
    made = []
    for byte in (1, 170):
        filled(byte)
        out = tmp_path / f"{byte}.mp4"
        encode(Source(str(clip), end=3.0), str(out), Encoding(codec, 20, 96, 30), frames=0)
        made.append(out.read_bytes())
    assert made[0] == made[1]

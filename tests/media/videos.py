"""Videos made for tests: small, of known content, some broken on purpose."""

import struct
from pathlib import Path

import numpy as np

from ivn.media.source import BUNDLED_CLIPS

BUNDLED = sorted(file for file in BUNDLED_CLIPS.iterdir() if file.suffix != ".tsv")
CASES = Path(__file__).parents[1] / "cases" / "files"

# For each of EXIF's orientations where pixels go, as display matrices have it: what of x and of y
# is in the shown x, and in the shown y.
_MATRICES = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, -1), (1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, 1), (-1, 0)),
}
# And what becomes of an image ``[H, W, 3]``: row 0 and column 0 as stored are then where EXIF says.
UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


def write_video(path, frames, *, codec="ffv1", pix_fmt="bgr0", rate=10, gop=250, options=None):
    """A video of ``frames``, uint8 ``[T, H, W, 3]``; lossless by default."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.gop_size = pix_fmt, gop
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return Path(path)


def write_mp4(path, frames, **options):
    """Lossy, with the sample table first, as files for streaming have it."""
    return write_video(
        path,
        frames,
        codec="mpeg4",
        pix_fmt="yuv420p",
        options={"movflags": "faststart"} | options,
    )


def write_with_a_jump(path, frames):
    """A lossless video at 10 frames a second whose last frame appears a day after the others."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for index, image in enumerate(noise(frames + 1)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if index < frames else 864_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def write_sound(path, *, cover=False):
    """An MP4 with a second of silence and, at most, a cover picture."""
    import av

    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            image = av.VideoFrame.from_ndarray(noise(1, 32, 32)[0], format="rgb24")
            container.mux([*picture.encode(image), *picture.encode(None)])
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return Path(path)


def turn_on_display(path, orientation=6):
    """Have an MP4 say how it is to be shown; telephones say 6, a quarter turned clockwise."""
    data = bytearray(Path(path).read_bytes())
    place = data.index(b"tkhd") + 44
    (a, c), (b, d) = _MATRICES[orientation]
    matrix = [one << 16 for one in (a, b, 0, c, d, 0, 0, 0, 1 << 14)]
    data[place : place + 36] = struct.pack(">9i", *matrix)
    Path(path).write_bytes(data)


def numbered_frames(count, height=32, width=48, step=10):
    """Frame ``i`` is grey of value ``i * step``."""
    return np.stack([np.full((height, width, 3), i * step, np.uint8) for i in range(count)])


def broken_files(folder):
    """Name -> file: each kind of file that a corpus holds and no decoder can use."""
    good = write_mp4(folder / "whole.mp4", noise(20)).read_bytes()
    files = {
        "missing": folder / "missing.mp4",
        "empty": folder / "empty.mp4",
        "text": folder / "text.mp4",
        "truncated": folder / "truncated.mp4",
        "header": folder / "header.mp4",
        "sound": write_sound(folder / "sound.mp4"),
        "cover": write_sound(folder / "cover.mp4", cover=True),
        "folder": folder / "folder.mp4",
    }
    files["empty"].touch()
    files["text"].write_text("404: the video you want is not here\n" * 50)
    files["truncated"].write_bytes(good[: len(good) // 2])
    files["header"].write_bytes(good[:200])
    files["folder"].mkdir()
    (folder / "whole.mp4").unlink()
    return files


def noise(count, height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)

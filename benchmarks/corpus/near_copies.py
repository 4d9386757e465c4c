"""Counts the altered copies that ``ivn data mix`` finds, and the videos that it mistakes for some.

python benchmarks/corpus/near_copies.py VIDEO... --out NEW_FOLDER [--seconds 4] [--parts 4]

Each video is cut into parts that follow one another. The parts count as different videos, though
they show one room, one film or one person. A copy of every kind is made of each part; then all
parts, and the copies of one kind at a time, are hashed and compared like in the command. It takes
minutes.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ivn.corpus.mix.compare import same_content
from ivn.corpus.mix.contents import perceptual_hash
from ivn.corpus.mix.near import candidates
from ivn.corpus.mix.phash import as_arrays
from ivn.media.decode import frames_in_order
from ivn.media.source import Source

# Frames uint8 [T, H, W, 3] and their rate, altered.
Alter = Callable[[np.ndarray, Fraction], tuple[np.ndarray, Fraction]]
_SHORT = 288  # longest short side of the parts, which are encoded at crf 18


def cropped(share: float) -> Alter:
    def alter(frames: np.ndarray, rate: Fraction) -> tuple[np.ndarray, Fraction]:
        top, left = (round(side * share) for side in frames.shape[1:3])
        return frames[:, top : frames.shape[1] - top, left : frames.shape[2] - left], rate

    return alter


def framed(frames: np.ndarray, rate: Fraction) -> tuple[np.ndarray, Fraction]:
    bar = frames.shape[1] // 10
    return np.pad(frames, ((0, 0), (bar, bar), (0, 0), (0, 0))), rate


def brighter(frames: np.ndarray, rate: Fraction) -> tuple[np.ndarray, Fraction]:
    return np.minimum(frames * 1.2 + 10, 255).astype(np.uint8), rate


def cut(frames: np.ndarray, rate: Fraction) -> tuple[np.ndarray, Fraction]:
    return frames[len(frames) // 4 : len(frames) - len(frames) // 4], rate


def plain(frames: np.ndarray, rate: Fraction) -> tuple[np.ndarray, Fraction]:
    return frames, rate


# Name -> function that alters the frames, scale of the encoded frames, crf.
KINDS: dict[str, tuple[Alter, float, int]] = {
    "encoded anew, crf 36": (plain, 1, 36),
    "half the size": (plain, 0.5, 28),
    "a third of the size, crf 32": (plain, 1 / 3, 32),
    "brighter": (brighter, 1, 28),
    "half the frame rate": (lambda frames, rate: (frames[::2], rate / 2), 1, 28),
    "first and last quarter cut off": (cut, 1, 28),
    "5 % cropped on each side": (cropped(0.05), 1, 28),
    "10 % cropped on each side": (cropped(0.1), 1, 28),
    "black bars of 10 %": (framed, 1, 28),
    "mirrored": (lambda frames, rate: (frames[:, :, ::-1], rate), 1, 28),
}


def parts_of(video: Path, seconds: float, most: int) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Yields the frames of at most ``most`` parts of ``seconds``; a shorter video is one part."""
    kept: list[np.ndarray] = []
    made, rate = 0, Fraction(25)
    for shown in frames_in_order(Source(str(video))):
        rate = Fraction(shown.rate).limit_denominator(1001)
        kept.append(shown.image().numpy())
        if len(kept) == round(seconds * rate):
            yield np.stack(kept), rate
            kept, made = [], made + 1
            if made == most:
                return
    if not made:
        yield np.stack(kept), rate


def write(file: Path, frames: np.ndarray, rate: Fraction, scale: float, crf: int) -> None:
    height, width = (int(side * scale) // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame.reformat(width, height, "yuv420p")))
        container.mux(stream.encode(None))


def make(videos: list[Path], out: Path, seconds: float, most: int) -> int:
    """Writes ``KIND/NUMBER.mp4``, the parts as kind -1, and returns the number of parts."""
    number = 0
    for name in range(-1, len(KINDS)):
        (out / str(name)).mkdir(parents=True)
    for video in videos:
        for frames, rate in parts_of(video, seconds, most):
            smaller = min(1, _SHORT / min(frames.shape[1:3]))
            write(out / "-1" / f"{number}.mp4", frames, rate, smaller, 18)
            for kind, (alter, scale, crf) in enumerate(KINDS.values()):
                altered = alter(frames, rate)
                write(out / str(kind) / f"{number}.mp4", *altered, scale * smaller, crf)
            number += 1
    return number


def measure(out: Path, count: int) -> list[dict[str, object]]:
    """A row a kind: copies, how many hashes propose, how many are found, and false pairs."""
    files = [[out / str(k) / f"{n}.mp4" for n in range(count)] for k in range(-1, len(KINDS))]
    hashes = [[perceptual_hash(Source(str(file))) for file in some] for some in files]
    rows = []
    for name, some, told in zip(KINDS, files[1:], hashes[1:], strict=True):
        both = [*files[0], *some]
        pairs = [(int(a), int(b)) for a, b in candidates(*as_arrays([*hashes[0], *told]))]
        found = [
            pair
            for pair in pairs
            if same_content((Source(str(both[pair[0]])), Source(str(both[pair[1]]))))
        ]
        true = {(number, number + count) for number in range(count)}
        false = [pair for pair in found if pair not in true]
        row = {
            "kind": name,
            "copies": count,
            "proposed": len(true & set(pairs)),
            "found": len(true & set(found)),
            "other pairs compared": len(set(pairs) - true),
            "false": [
                [str(both[a].relative_to(out)), str(both[b].relative_to(out))] for a, b in false
            ],
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--parts", type=int, default=4)
    given = parser.parse_args()
    count = make(given.videos, given.out, given.seconds, given.parts)
    rows = measure(given.out, count)
    (given.out / "copies.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

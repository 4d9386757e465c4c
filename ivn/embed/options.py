"""Options of ``ivn embed``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ivn.errors import UsageError
from ivn.options import NO_SIZES, Device, EncoderSizes, Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Write the features of videos of any length to a file, window by window.
    $ ivn embed VIDEO --encoder RUN -o FEATURES.npz

    A video is decoded once, from its start to its end, and needs the memory of one window. A
    window that would reach beyond the end of the video is dropped, unless --tail cover moves it
    back. A video shorter than one window gives one, in which the encoder sees frames from all of
    the video. How many videos are of either kind is said at the end and in the file. See
    docs/data.md#features for what is in the file.

    An unusable video is named, counted and skipped with all its windows: the exit code is then 1,
    and the file holds the others. If all are unusable, there is no file. Finished windows are kept
    in the folder FILE.partial until FILE is there: after any kind of stop the same command
    continues from there and repeats 20 seconds at most. With other settings it refuses to.

    Attributes:
        videos: files, folders, lists or manifests.
        encoder: a run, a file or folder of weights, a preset (with random weights), a hub id,
            timm:NAME or hf:ID (either with @random behind it for random weights), or raw for
            statistics of the pixels.
        out: file to write, .npz, .safetensors or .parquet; it must not exist.
        pool: kind of feature: none for the tokens, frames for their mean over space, mean for
            their mean over space and time, attn for the encoder's pooling head, cls for its class
            tokens.
        window: number of sampled frames in a window; as many as the encoder sees by default. Of a
            longer window it sees the middle frames of as many equal parts.
        stride: number of frames from the start of a window to the start of the next; the length
            of a window by default.
        fps: sampling rate in frames per second, as a player would show them; all frames of the
            file by default.
        tail: treatment of the frames behind the last full window: drop leaves them out, cover adds
            a window that ends with the last frame and overlaps the one before.
        frames: number of frames that the encoder sees of a window, instead of its own.
        size: side in pixels of the frames that the encoder sees, instead of its own.
        layer: index of the block whose features are taken, counted from 0, or backwards from -1,
            the last. Earlier blocks have no attn features; networks of other libraries give only
            the last.
        dtype: number type of the encoder's weights and arithmetic; the file holds float32.
        batch_size: number of windows that the encoder reads at the same time; it changes no
            feature.
        device: device of the encoder; auto takes the GPU if there is one.
        sizes: sizes of an encoder whose weights have no config.json beside them; see
            docs/troubleshooting.md#checkpoints.
    """

    videos: Annotated[tuple[str, ...], Positional("VIDEO ...")] = ()
    encoder: Annotated[str, Option("E")]
    out: Annotated[Path, Option("FILE", short="-o")]
    pool: Annotated[Literal["none", "frames", "mean", "attn", "cls"], Option("POOL")] = "mean"
    window: Annotated[int, Unset("FRAMES")] = 0
    stride: Annotated[int, Unset("FRAMES")] = 0
    fps: Annotated[float, Unset("FPS")] = 0.0
    tail: Annotated[Literal["drop", "cover"], Option("drop|cover")] = "drop"
    frames: Annotated[int, Unset("T")] = 0
    size: Annotated[int, Unset("S")] = 0
    layer: Annotated[int, Option("N")] = -1
    dtype: Annotated[Literal["float32", "bfloat16"], Option("float32|bfloat16")] = "float32"
    batch_size: Annotated[int, Option("N")] = 8
    device: Device = "auto"
    sizes: EncoderSizes = NO_SIZES

    def __post_init__(self) -> None:
        if not self.videos:
            raise UsageError("give at least one VIDEO: ivn embed VIDEO... --encoder E -o FILE")

"""Options that all tasks of ``ivn evaluate`` share, and those of ``ivn predict``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ivn.errors import UsageError
from ivn.options import NO_SIZES, Device, EncoderSizes, Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Options of every task.

    Attributes:
        encoder: encoders to compare: runs, files or folders of weights, presets (with random
            weights), hub ids, timm:NAME, hf:FOLDER, or raw for statistics of the pixels. All share
            one split and one decoding of each file.
        frames: number of frames that the encoders see, instead of their own.
        size: side in pixels of the frames that the encoders see, instead of their own.
        seed: seed of splits, heads, random views and intervals.
        device: device of encoders and heads; auto takes the GPU if there is one.
        workers: number of threads that decode.
        cache: folder of features, which are computed once; ~/.cache/ivn/features by default.
        out: folder to write result.json and the rest of the result to; it must be new. By default
            RUN/probes/TASK (then TASK-2, TASK-3, ...) where the first encoder is a run; otherwise
            nothing is written.
        sizes: sizes of encoders whose weights have no config.json beside them; see
            docs/troubleshooting.md#checkpoints.
    """

    encoder: Annotated[tuple[str, ...], Option("E ...")]
    frames: Annotated[int, Unset("T")] = 0
    size: Annotated[int, Unset("S")] = 0
    seed: Annotated[int, Option("N")] = 0
    device: Device = "auto"
    workers: Annotated[int, Option("N")] = 2
    cache: Annotated[str, Unset("DIR")] = ""
    out: Annotated[str, Unset("DIR")] = ""
    sizes: EncoderSizes = NO_SIZES

    def __post_init__(self) -> None:
        if not self.encoder:
            raise UsageError("give --encoder E: a run, weights, a preset, a hub id or raw")
        if self.workers < 1:
            raise UsageError(
                f"--workers {self.workers}, expected at least 1: the number of threads that decode"
            )


@dataclass(frozen=True, kw_only=True)
class Labelled(Evaluation):
    """Options of the tasks on labelled videos.

    Attributes:
        data: labelled videos, as a list or a manifest.
        label: name of the label; several values in one label are separated by ";".
        pool: kind of feature that linear and knn heads and retrieval read: mean over all tokens,
            frames for the mean of each frame, attn for the encoder's own pooling head, cls for its
            class tokens.
        clips: number of clips of each video; their results are averaged.
        crops: number of crops of each of those clips.
    """

    data: Annotated[str, Option("LIST")]
    label: Annotated[str, Option("NAME")] = "label"
    pool: Annotated[Literal["mean", "frames", "attn", "cls"], Option("POOL")] = "mean"
    clips: Annotated[int, Option("N")] = 1
    crops: Annotated[int, Option("N")] = 1


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Print the most probable classes of videos, by a head that ivn evaluate classify saved.
    $ ivn predict VIDEO --head RUN/probes/classify

    With a head for several labels per video, each probability is that of the label by itself. If a
    video is unusable, the exit code is 1, and the others are printed all the same.

    Attributes:
        videos: files, folders or lists.
        head: a saved head (NAME.safetensors), or the folder of a result for its best head.
        encoder: the encoder's present place, if it has moved; one of other weights or sizes is
            refused.
        top: number of classes to print.
        json: whether to print all classes as JSON, for programs.
        device: device of the encoder; auto takes the GPU if there is one.
        sizes: sizes of an encoder whose weights have no config.json beside them; see
            docs/troubleshooting.md#checkpoints.
    """

    videos: Annotated[tuple[str, ...], Positional("VIDEO ...")] = ()
    head: Annotated[str, Option("HEAD")]
    encoder: Annotated[str, Unset("E")] = ""
    top: Annotated[int, Option("N")] = 5
    json: bool = False
    device: Device = "auto"
    sizes: EncoderSizes = NO_SIZES

    def __post_init__(self) -> None:
        if not self.videos:
            raise UsageError("give at least one VIDEO: ivn predict VIDEO... --head HEAD")

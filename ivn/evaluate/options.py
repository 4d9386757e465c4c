"""Options of ``ivn evaluate`` and ``ivn predict``: a task has its own, and those that all share."""

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
            raise UsageError(f"{self.workers} workers, expected at least 1")


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
class Classify(Labelled):
    """Measure how well heads on frozen features tell the classes of labelled videos apart.
    $ ivn evaluate classify --encoder RUN --data LIST --label NAME
    $ ivn evaluate classify --encoder RUN hf:FOLDER --data LIST --test LIST --heads meanquery

    A video is judged by heads that saw no video of its group, file or content. Beside the encoders
    stand statistics of the raw pixels and, for a run, timm: and hf:, the same network with random
    weights. If any video has several labels, separated by ";",
    each label is predicted by itself and scored by its average precision. See
    docs/method.md#evaluation-ivnevaluate for how videos are split and heads are fitted.

    The last line printed is the result as JSON; with several labels per video it has map and ap
    instead of top1 and confusion. The folder of the result holds result.json, confusion.csv and
    the heads. Unusable videos are named, left out and counted. Videos without the label
    (unlabelled, unlabelled_test), rows that repeat a clip in its class (repeated) and videos
    without a group (ungrouped) are counted, each kind in one line. One clip under two classes is
    an error.

    Attributes:
        test: videos to judge by, instead of folds of the data.
        heads: kinds of heads to fit: linear, knn, attentive (one cross-attention with a learned
            query), attentive4 (the four blocks of V-JEPA 2) and meanquery (the paper's, whose
            query is the mean token).
        tokens: features that heads with attention read: all tokens, or frames for the mean of each
            frame.
        train_views: number of views of each training video: the central one, then random ones.
        folds: number of parts of the data, each judged by heads that were fitted to the others.
        holdout: whether to judge only one of the folds.
        epochs: number of epochs for which heads are trained.
        batch: number of samples in a training step of the heads.
        lr: learning rates to choose from, instead of those of the kind of head.
        wd: weight decays to choose from, instead of those of the kind of head.
    """

    test: Annotated[str, Unset("LIST")] = ""
    heads: Annotated[tuple[str, ...], Option("KIND,...", commas=True)] = ("linear", "knn")
    tokens: Annotated[Literal["all", "frames"], Option("all|frames")] = "all"
    train_views: Annotated[int, Option("N")] = 1
    folds: Annotated[int, Option("N")] = 5
    holdout: bool = False
    epochs: Annotated[int, Option("N")] = 20
    batch: Annotated[int, Option("N")] = 64
    lr: Annotated[tuple[float, ...], Unset("LR ...")] = ()
    wd: Annotated[tuple[float, ...], Unset("WD ...")] = ()


@dataclass(frozen=True, kw_only=True)
class Retrieve(Labelled):
    """Measure how often the nearest videos of other groups are of the same class.
    $ ivn evaluate retrieve --encoder RUN --data LIST --label NAME

    Nothing is trained. Beside the encoders stand statistics of the raw pixels and, for a run, timm:
    and hf:, the same network with random weights. The last line
    printed is the result as JSON. Unusable videos are named, left out and counted.
    """


@dataclass(frozen=True, kw_only=True)
class Motion(Evaluation):
    """Measure how well linear heads on frozen features tell ten camera motions apart.
    $ ivn evaluate motion --encoder RUN

    The camera moves over frames of the data or, without --data, over bundled clips and drawn
    scenes, as in the demo; no scene is in training and test alike. It needs pip install
    "ivn[demo]". Beside the encoders stand statistics of the raw pixels and, for a run, timm:
    and hf:, the same network with random weights. See
    docs/method.md#camera-motion.
    The last line printed is the result as JSON.

    Attributes:
        data: videos whose frames the camera moves over, as a folder, a list or a manifest.
    """

    data: Annotated[str, Unset("FOLDER|LIST")] = ""


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

    videos: Annotated[tuple[str, ...], Positional("VIDEO ...")]
    head: Annotated[str, Unset("HEAD")] = ""
    encoder: Annotated[str, Unset("E")] = ""
    top: Annotated[int, Option("N")] = 5
    json: bool = False
    device: Device = "auto"
    sizes: EncoderSizes = NO_SIZES

    def __post_init__(self) -> None:
        if not self.videos or not self.head:
            raise UsageError("give VIDEO ... and --head HEAD")

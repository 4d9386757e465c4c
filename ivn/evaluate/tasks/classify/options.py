"""Options of ``ivn evaluate classify``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ivn.evaluate.options import Labelled
from ivn.options import Option, Unset


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

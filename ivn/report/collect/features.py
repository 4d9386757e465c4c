"""Features of clips over time and space, by every encoder that the runs give.

Legend: t time slots, h x w tokens of a slot, C features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ivn.frozen import Teacher
from ivn.model.encoder import Encoder
from ivn.model.patch import normalised
from ivn.report.draw.picture import pca_colours
from ivn.report.page.content import Film, Neighbours
from ivn.stages.stage1 import Stage1
from ivn.stages.stage2 import Stage2

from .clips import Clip, Views
from .opened import Opened

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Eye:
    """Something that makes features of a clip.

    Attributes:
        label: its name for people.
        group: of the views that it looks at.
        see: those of a clip -> ``[t, h, w, C]``.
        cost: multiplications and additions a clip, roughly.
    """

    label: str
    group: str
    see: Callable[[Views], Tensor]
    cost: float


def eyes(runs: Sequence[Opened], given: Sequence[str]) -> list[Eye]:
    """Teachers, random encoders and trained encoders, each once.

    Args:
        runs: those of the page and those that they started from.
        given: names of the runs of the page.
    """
    found: list[Eye] = []
    seen: list[tuple[str, object]] = []
    for run in runs:
        for kind, config, teacher, clip in _teachers(run):
            if (kind, config) not in seen:
                seen.append((kind, config))
                label = (
                    kind if [name for name, _ in seen].count(kind) == 1 else f"{kind}, {run.name}"
                )
                found.append(_teacher(teacher, clip, label, run))
    twins: list[object] = []
    for run in runs:
        sizes = run.config.model.encoder
        if sizes not in twins and run.encoder is not None:
            twins.append(sizes)
            label = "random" if len(twins) == 1 else f"random, as {run.name}"
            found.append(_encoder(run.untrained(), label, run.name))
    kinds = [run.config.stage.kind for run in runs]
    for run in runs:
        if run.encoder is not None:
            kind = run.config.stage.kind
            alone = kinds.count(kind) == 1 and run.name in given
            label = {"stage1": "stage 1", "stage2": "stage 2"}[kind]
            found.append(
                _encoder(run.encoder, label if alone else f"{label}, {run.name}", run.name)
            )
    return found


def _teachers(run: Opened) -> list[tuple[str, object, Teacher, str]]:
    """What a run calls its teachers, their configs, themselves and the clips that they see."""
    stage = run.stage
    found: list[tuple[str, object, Teacher | None, str]] = []
    if stage is not None:
        semantic = stage.semantic
        found.append(("teacher", run.config.stage.teacher, semantic.teacher, semantic.clip))
    if isinstance(stage, Stage1):
        config = stage.config.second_teacher
        found.append(("second teacher", config, stage.second_teacher, stage.second.clip))
    if isinstance(stage, Stage2) and isinstance(stage.teacher, Teacher):
        found.append(("target", stage.config.target, stage.teacher, "target"))
    return [
        (kind, config, teacher, clip)
        for kind, config, teacher, clip in found
        if teacher is not None and teacher.num_taps
    ]


def film(eye: Eye, features: Floats) -> Film:
    """Features ``[t, h, w, C]`` as colours, one pixel a token."""
    colours = pca_colours(features.reshape(-1, features.shape[3]))
    return Film(eye.label, colours.reshape(*features.shape[:3], 3))


def see(eye: Eye, clip: Clip) -> Floats:
    """The eye's features of a clip, ``[t, h, w, C]``."""
    return eye.see(clip.views[eye.group]).float().cpu().numpy()


def neighbours(eye: Eye, means: Sequence[Floats], queries: Sequence[int], count: int) -> Neighbours:
    """The clips that are nearest to some of them, by the cosine of centred mean features.

    Args:
        eye: whose features.
        means: ``[C]`` of each clip. Their common mean is subtracted: it is most of every clip's
            feature, and all cosines would be near one.
        queries: numbers of clips.
        count: how many neighbours of each.
    """
    vectors = np.stack(means).astype(np.float64)
    vectors -= vectors.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = vectors @ vectors.T
    nearest = {}
    for query in queries:
        order = [int(i) for i in np.argsort(-cosines[query], kind="stable") if i != query]
        nearest[query] = [(i, float(cosines[query, i])) for i in order[:count]]
    return Neighbours(eye.label, nearest)


@torch.no_grad()
def _see_encoder(encoder: Encoder, views: Views) -> Tensor:
    where = next(encoder.parameters()).device
    video = views["student"].to(where)
    side = video.shape[3] // encoder.config.patch_size
    return encoder(video)[0].unflatten(0, (-1, side, side))


@torch.no_grad()
def _see_teacher(teacher: Teacher, clip: str, views: Views, where: torch.device) -> Tensor:
    if clip in views and clip != "student":
        targets = teacher(views[clip].to(where), pooled=False, attention=False)
    else:
        video = normalised(views["student"].to(where))
        targets = teacher.from_student(video, pooled=False, attention=False)
    return targets.layers[-1][0].unflatten(0, (-1, teacher.grid, teacher.grid))


def _encoder(encoder: Encoder, label: str, group: str) -> Eye:
    frames, h, w = encoder.config.grid
    cost = 2.0 * sum(p.numel() for p in encoder.parameters()) * frames * h * w
    return Eye(label, group, lambda views: _see_encoder(encoder, views), cost)


def _teacher(teacher: Teacher, clip: str, label: str, run: Opened) -> Eye:
    where = next(teacher.network.parameters()).device
    tokens = run.config.stage.frames * teacher.grid**2
    cost = 2.0 * sum(p.numel() for p in teacher.network.parameters()) * tokens
    return Eye(label, run.name, lambda views: _see_teacher(teacher, clip, views, where), cost)


def cost(found: Sequence[Eye]) -> float:
    """Multiplications and additions that all of them need for a clip, roughly."""
    return sum(eye.cost for eye in found)

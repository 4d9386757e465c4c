"""Computes features of clips over time and space with every network of the runs.

Legend: t time slots, h x w tokens of a slot, C features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ivn.model.encoder import Encoder
from ivn.report.draw.picture import pca_colours
from ivn.report.page.content import Film, Neighbours
from ivn.stages.teachers import STUDENT, StageTeacher

from .clips import Clip, Views
from .opened import Opened

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Extractor:
    """A network that computes features of a clip.

    Attributes:
        label: name on the page.
        run: name of the run whose frames of a clip it takes.
        compute: function of these frames; gives features ``[t, h, w, C]``.
        cost: multiplications and additions for a clip, roughly.
    """

    label: str
    run: str
    compute: Callable[[Views], Tensor]
    cost: float


def extractors(runs: Sequence[Opened], given: Sequence[str]) -> list[Extractor]:
    """Returns teachers, random encoders and trained encoders, each once.

    Args:
        runs: the runs of the page, and those that they started from.
        given: names of the runs of the page.
    """
    found: list[Extractor] = []
    seen: list[tuple[str, object]] = []
    for run in runs:
        for key, teacher in run.stage.teachers.items() if run.stage is not None else ():
            known = (key, teacher.spec.config)
            if known not in seen and teacher.network.num_taps:
                seen.append(known)
                name = key.replace("_", " ")
                alone = [one for one, _ in seen].count(key) == 1
                found.append(_teacher(teacher, name if alone else f"{name}, {run.name}", run))
    trained = [(run, run.encoder) for run in runs if run.encoder is not None]
    sizes: list[object] = []
    for run, _ in trained:
        if run.config.model.encoder not in sizes:
            sizes.append(run.config.model.encoder)
            label = "random" if len(sizes) == 1 else f"random, as {run.name}"
            found.append(_encoder(run.untrained(), label, run.name))
    labels = [run.config.stage.label for run in runs]
    for run, encoder in trained:
        label = run.config.stage.label
        alone = labels.count(label) == 1 and run.name in given
        found.append(_encoder(encoder, label if alone else f"{label}, {run.name}", run.name))
    return found


def film(extractor: Extractor, features: Floats) -> Film:
    """Returns features ``[t, h, w, C]`` as colours, one pixel for each token."""
    colours = pca_colours(features.reshape(-1, features.shape[3]))
    return Film(extractor.label, colours.reshape(*features.shape[:3], 3))


def extract(extractor: Extractor, clip: Clip) -> Floats:
    """Returns the extractor's features of a clip, ``[t, h, w, C]``."""
    return extractor.compute(clip.views[extractor.run]).float().cpu().numpy()


def neighbours(
    extractor: Extractor, means: Sequence[Floats], queries: Sequence[int], count: int
) -> Neighbours:
    """Returns the clips nearest to some of them, by the cosine of centred mean features.

    Args:
        extractor: network of the features, for its name.
        means: mean feature of each clip, ``[C]``. Their common mean is subtracted: it is most of
            every clip's feature, and all cosines would be near one.
        queries: numbers of the clips whose neighbours are returned.
        count: number of neighbours of each.
    """
    vectors = np.stack(means).astype(np.float64)
    vectors -= vectors.mean(0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = vectors @ vectors.T
    nearest = {}
    for query in queries:
        order = [int(i) for i in np.argsort(-cosines[query], kind="stable") if i != query]
        nearest[query] = [(i, float(cosines[query, i])) for i in order[:count]]
    return Neighbours(extractor.label, nearest)


@torch.no_grad()
def _encoder_features(encoder: Encoder, views: Views) -> Tensor:
    where = next(encoder.parameters()).device
    video = views[STUDENT].to(where)
    side = video.shape[3] // encoder.config.patch_size
    return encoder(video)[0].unflatten(0, (-1, side, side))


@torch.no_grad()
def _teacher_features(teacher: StageTeacher, views: Views) -> Tensor:
    network = teacher.network
    where = next(network.network.parameters()).device
    clips = {teacher.spec.clip: views[teacher.spec.clip].to(where)}
    found = teacher.look(clips, layers=True, pooled=False, attention=False)
    return found.layers[-1][0].unflatten(0, (-1, network.grid, network.grid))


def _encoder(encoder: Encoder, label: str, run: str) -> Extractor:
    frames, h, w = encoder.config.grid
    cost = 2.0 * sum(p.numel() for p in encoder.parameters()) * frames * h * w
    return Extractor(label, run, lambda views: _encoder_features(encoder, views), cost)


def _teacher(teacher: StageTeacher, label: str, run: Opened) -> Extractor:
    network = teacher.network
    tokens = run.config.stage.frames * network.grid**2
    cost = 2.0 * sum(p.numel() for p in network.network.parameters()) * tokens
    return Extractor(label, run.name, lambda views: _teacher_features(teacher, views), cost)

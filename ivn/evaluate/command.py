"""Probes and predictions as commands: names in, a table, files and a line of JSON out."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivn.config.run import read
from ivn.data.manifest.listing import left_out, list_clips
from ivn.errors import DataError, DecodeError, RequestError
from ivn.evaluate import results
from ivn.evaluate.features.cache import default_folder
from ivn.evaluate.heads import file as headfile
from ivn.evaluate.heads.training import Training
from ivn.evaluate.motion.scenes import BundledPictures
from ivn.evaluate.motion.task import Frames, probe_motion
from ivn.evaluate.table import classify_table, motion_table, retrieve_table
from ivn.evaluate.tasks.classify import Classified, classify
from ivn.evaluate.tasks.predict import predict
from ivn.evaluate.tasks.retrieve import retrieve
from ivn.frozen.encoders import Frozen, FrozenEncoder, Pool
from ivn.load import load_frozen
from ivn.media.source import Source
from ivn.model.encoder import build_encoder
from ivn.progress import tracked
from ivn.train import folder
from ivn.train.settings import resolve_device

RAW = "raw"
LIBRARIES, AT_RANDOM = ("timm:", "hf:"), "@random"


@dataclass(frozen=True)
class Place:
    """Where a probe computes and what it leaves behind.

    Attributes:
        device: of encoders and heads; "auto" is the GPU where there is one.
        workers: threads that decode.
        cache: folder of features; "" is the user's own.
        out: folder of the result; "" is that of the run, if the first encoder is one.
    """

    device: str = "auto"
    workers: int = 2
    cache: str = ""
    out: str = ""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise RequestError(f"{self.workers} workers, expected at least 1")

    def resolved_device(self) -> str:
        """The device by its name.

        Raises:
            DataError: there is none.
        """
        try:
            return resolve_device(self.device).type
        except ValueError:
            raise DataError(
                "--device is cuda, but PyTorch sees no GPU; ivn doctor says why"
            ) from None

    def folder(self, task: str, encoder: str) -> Path | None:
        """Where the result goes, which is free; None is nowhere.

        Raises:
            DataError: ``out`` holds a result.
        """
        if self.out:
            results.check_new(Path(self.out))
            return Path(self.out)
        if not _is_run(encoder):
            return None
        parent = Path(encoder) / "probes"
        names = [task, *(f"{task}-{number}" for number in range(2, 10_000))]
        return next(parent / name for name in names if not (parent / name).exists())


@dataclass(frozen=True)
class Clips:
    """What encoders see.

    Attributes:
        frames, size: of their clips; 0 is their own number.
        encoder: sizes of the encoders themselves, as :func:`ivn.load.load_frozen` takes them.
    """

    frames: int = 0
    size: int = 0
    encoder: Mapping[str, Any] = field(default_factory=dict)


def run_classify(
    encoders: Sequence[str],
    *,
    data: str,
    test: str,
    label: str,
    heads: Sequence[str],
    pool: Pool,
    tokens: Pool,
    views: tuple[int, int, int],
    folds: int,
    holdout: bool,
    lr: Sequence[float],
    wd: Sequence[float],
    training: Training,
    clips: Clips,
    place: Place,
) -> int:
    """Probe encoders, and the baselines beside them; print a table, then all of it as JSON."""
    out = place.folder("classify", encoders[0])
    sources, judged = _listed(data), _listed(test) if test else ()
    frozen, baselines = subjects(encoders, clips, place.resolved_device())
    found = classify(
        frozen,
        sources,
        test=judged,
        label=label,
        heads=heads,
        pool=pool,
        tokens=tokens,
        clips=views[0],
        crops=views[1],
        train_views=views[2],
        folds=folds,
        holdout=holdout,
        lr=lr,
        wd=wd,
        training=training,
        seed=training.seed,
        baselines=baselines,
        cache=Path(place.cache) if place.cache else default_folder(),
        workers=place.workers,
    )
    found.facts |= {"data": data, "test": test}
    if out is not None:
        _save_heads(found, out)
    return _finish(found, classify_table(found), out)


def run_motion(encoders: Sequence[str], *, data: str, seed: int, clips: Clips, place: Place) -> int:
    """Probe camera motion over bundled and drawn pictures, or over frames of videos."""
    out = place.folder("motion", encoders[0])
    frozen, baselines = subjects(encoders, clips, place.resolved_device())
    frames = Frames(_listed(data), seed, [*frozen, *baselines]) if data else None
    pictures = BundledPictures(seed=seed) if frames is None else frames
    found = probe_motion(
        frozen,
        tracked(pictures, "camera motion", len(pictures), errors=True),
        seed=seed,
        baselines=baselines,
    )
    found.facts["data"] = data or "bundled clips and drawn scenes"
    if frames is not None:
        found.facts["notes"], found.skipped = frames.notes(), frames.skipped
    return _finish(found, motion_table(found), out)


def run_retrieve(
    encoders: Sequence[str],
    *,
    data: str,
    label: str,
    pool: Pool,
    views: tuple[int, int],
    seed: int,
    clips: Clips,
    place: Place,
) -> int:
    """Probe which videos are nearest; print a table, then all of it as JSON."""
    out = place.folder("retrieve", encoders[0])
    sources = _listed(data)
    frozen, baselines = subjects(encoders, clips, place.resolved_device())
    found = retrieve(
        frozen,
        sources,
        label=label,
        pool=pool,
        clips=views[0],
        crops=views[1],
        seed=seed,
        baselines=baselines,
        cache=Path(place.cache) if place.cache else default_folder(),
        workers=place.workers,
    )
    found.facts["data"] = data
    return _finish(found, retrieve_table(found), out)


def run_predict(
    videos: Sequence[str],
    *,
    head: str,
    encoder: str,
    top: int,
    as_json: bool,
    device: str,
    sizes: Mapping[str, Any],
) -> int:
    """Print the classes of each video; 1 if one could not be used."""
    saved = headfile.load(Path(head))
    spec = saved.card["encoder"]
    frozen = load_frozen(
        encoder or saved.encoder,
        frames=spec["frames"],
        size=spec["size"],
        device=Place(device=device).resolved_device(),
        **sizes,
    )
    saved.check(frozen)
    failed, found = [], []
    for source in [source for video in videos for source in list_clips(video)]:
        try:
            found.append(predict(source, saved, frozen))
        except DecodeError as error:
            failed.append(str(error))
    if as_json:
        lines = [{"path": one.path, "classes": one.classes} for one in found]
        print(json.dumps(lines))
    else:
        for one in found:
            best = list(one.classes.items())[:top]
            print(f"{one.path}: " + ", ".join(f"{name} {value:.1%}" for name, value in best))
    for reason in failed:
        print(f"ivn: {reason}", file=sys.stderr)
    return 1 if failed else 0


def subjects(
    encoders: Sequence[str], clips: Clips, device: str
) -> tuple[list[Frozen], list[Frozen]]:
    """The encoders, and what stands beside them: random twins, and raw pixels.

    Runs have twins, and networks of other libraries.
    """
    names = list(dict.fromkeys(encoders))
    frames, size = clips.frames or None, clips.size or None
    found = [
        load_frozen(name, frames=frames, size=size, device=device, **clips.encoder)
        for name in names
    ]
    beside: list[Frozen] = []
    for name, one in zip(names, found, strict=True):
        if _is_run(name):
            beside.append(_twin(name, one, device))
        elif (
            name.startswith(LIBRARIES)
            and (twin := f"{name.removesuffix(AT_RANDOM)}{AT_RANDOM}") not in names
        ):
            size = one.spec.size
            beside.append(load_frozen(twin, frames=one.spec.frames, size=size, device=device))
    if RAW not in names:
        spec = found[0].spec
        beside.append(load_frozen(RAW, frames=spec.frames, size=spec.size))
    return found, beside


def _listed(data: str) -> Sequence[Source]:
    """The videos of a list; what is left out of a manifest is told."""
    sources = list_clips(data)
    if line := left_out(sources):
        print(line)
    return sources


def _twin(run: str, frozen: Frozen, device: str) -> Frozen:
    """The encoder of a run as it was before its first step, had it begun at random."""
    config = read(Path(run) / folder.CONFIG)
    encoder = build_encoder(config.model.encoder, seed=config.data.seed).to(device)
    return FrozenEncoder(f"{run}, random weights", encoder, frozen.spec)


def _is_run(name: str) -> bool:
    return (Path(name) / folder.CONFIG).is_file()


def _save_heads(found: Classified, out: Path) -> None:
    """Write the heads of all encoders but baselines, and name the best in the result."""
    for number, (head, row) in enumerate(zip(found.heads, found.rows, strict=True)):
        if not row.baseline:
            path = headfile.save(head, out / headfile.FOLDER, facts=found.facts)
            row.extra["saved"] = os.fspath(path.relative_to(out))
            if number == found.best:
                found.facts["best_head"] = row.extra["saved"]


def _finish(found: results.Result, table: str, out: Path | None) -> int:
    if out is not None:
        results.write(found, out)
    for one in found.skipped:
        print(f"skipped: {one.reason}", file=sys.stderr)
    print(table)
    if out is not None:
        print(f"result: {out}")
    print(json.dumps(found.json()))
    return 0

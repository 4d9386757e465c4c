"""Evaluations and predictions as commands: names in, a table, files and a line of JSON out."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ivn.config.run import read
from ivn.data.manifest.listing import list_clips, unusable_rows
from ivn.devices import resolve_device
from ivn.errors import DecodeError
from ivn.evaluate import results
from ivn.evaluate.features.cache import default_folder
from ivn.evaluate.heads import file as headfile
from ivn.evaluate.heads.training import Training
from ivn.evaluate.motion.scenes import BundledPictures
from ivn.evaluate.motion.task import Frames, probe_motion
from ivn.evaluate.options import Classify, Evaluation, Motion, Predict, Retrieve
from ivn.evaluate.table import classify_table, motion_table, retrieve_table
from ivn.evaluate.tasks.classify import Classified, classify
from ivn.evaluate.tasks.predict import predict
from ivn.evaluate.tasks.retrieve import retrieve
from ivn.frozen.encoders import Frozen, FrozenEncoder
from ivn.load import load_frozen
from ivn.media.source import Source
from ivn.model.encoder import build_encoder
from ivn.progress import tracked
from ivn.train import folder

RAW = "raw"
LIBRARIES, AT_RANDOM = ("timm:", "hf:"), "@random"


def run_classify(options: Classify) -> int:
    """Evaluate encoders, and the baselines beside them; print a table, then all of it as JSON."""
    device = _device(options.device)
    training = Training(options.epochs, options.batch, seed=options.seed, device=device)
    out = _folder("classify", options)
    sources = _listed(options.data)
    judged = _listed(options.test) if options.test else ()
    frozen, baselines = subjects(options)
    found = classify(
        frozen,
        sources,
        test=judged,
        label=options.label,
        heads=options.heads,
        pool=options.pool,
        tokens="none" if options.tokens == "all" else options.tokens,
        clips=options.clips,
        crops=options.crops,
        train_views=options.train_views,
        folds=options.folds,
        holdout=options.holdout,
        lr=options.lr,
        wd=options.wd,
        training=training,
        seed=options.seed,
        baselines=baselines,
        cache=Path(options.cache) if options.cache else default_folder(),
        workers=options.workers,
    )
    found.facts |= {"data": options.data, "test": options.test}
    if out is not None:
        _save_heads(found, out)
    return _finish(found, classify_table(found), out)


def run_motion(options: Motion) -> int:
    """Evaluate camera motion over bundled and drawn pictures, or over frames of videos."""
    out = _folder("motion", options)
    frozen, baselines = subjects(options)
    data, seed = options.data, options.seed
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


def run_retrieve(options: Retrieve) -> int:
    """Evaluate which videos are nearest; print a table, then all of it as JSON."""
    out = _folder("retrieve", options)
    sources = _listed(options.data)
    frozen, baselines = subjects(options)
    found = retrieve(
        frozen,
        sources,
        label=options.label,
        pool=options.pool,
        clips=options.clips,
        crops=options.crops,
        seed=options.seed,
        baselines=baselines,
        cache=Path(options.cache) if options.cache else default_folder(),
        workers=options.workers,
    )
    found.facts["data"] = options.data
    return _finish(found, retrieve_table(found), out)


def run_predict(options: Predict) -> int:
    """Print the classes of each video; 1 if one could not be used."""
    saved = headfile.load(Path(options.head))
    spec = saved.card["encoder"]
    frozen = load_frozen(
        options.encoder or saved.encoder,
        frames=spec["frames"],
        size=spec["size"],
        device=_device(options.device),
        **options.sizes.given(),
    )
    saved.check(frozen)
    failed, found = [], []
    for source in [source for video in options.videos for source in list_clips(video)]:
        try:
            found.append(predict(source, saved, frozen))
        except DecodeError as error:
            failed.append(str(error))
    if options.json:
        lines = [{"path": one.path, "classes": one.classes} for one in found]
        print(json.dumps(lines))
    else:
        for one in found:
            best = list(one.classes.items())[: options.top]
            print(f"{one.path}: " + ", ".join(f"{name} {value:.1%}" for name, value in best))
    for reason in failed:
        print(f"ivn: {reason}", file=sys.stderr)
    return 1 if failed else 0


def subjects(options: Evaluation) -> tuple[list[Frozen], list[Frozen]]:
    """The encoders, and what stands beside them: random twins, and raw pixels.

    Runs have twins, and networks of other libraries.
    """
    device = _device(options.device)
    names = list(dict.fromkeys(options.encoder))
    frames, size = options.frames or None, options.size or None
    found = [
        load_frozen(name, frames=frames, size=size, device=device, **options.sizes.given())
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


def _device(name: str) -> str:
    """Returns the name of the device; DeviceError where it is not on this machine."""
    return resolve_device(name).type


def _folder(task: str, options: Evaluation) -> Path | None:
    """The folder of the result, which is free; None is nowhere.

    Raises:
        DataError: the folder asked for holds a result.
    """
    if options.out:
        results.check_new(Path(options.out))
        return Path(options.out)
    if not _is_run(options.encoder[0]):
        return None
    parent = Path(options.encoder[0]) / "probes"
    names = [task, *(f"{task}-{number}" for number in range(2, 10_000))]
    return next(parent / name for name in names if not (parent / name).exists())


def _listed(data: str) -> Sequence[Source]:
    """The videos of a list; what is left out of a manifest is told."""
    sources = list_clips(data)
    if line := unusable_rows(sources):
        print(line)
    return sources


def _twin(run: str, frozen: Frozen, device: str) -> Frozen:
    """Returns the encoder of a run with the random weights that the run's seed gives."""
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

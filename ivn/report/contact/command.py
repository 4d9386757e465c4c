"""``ivn data view``: a contact sheet of the first samples of a training, as a page."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from ivn.config.presets import named_preset
from ivn.config.run import Config, override, read
from ivn.data.manifest.listing import list_clips
from ivn.data.sampling.plan import Plan
from ivn.durable import check_absent, write_text
from ivn.errors import DataError, RequestError
from ivn.media.source import Source
from ivn.report.contact.masks import MaskNetworks, mask_networks
from ivn.report.contact.options import View
from ivn.report.contact.samples import Sample, first_samples
from ivn.report.contact.sheet import Cell, contact_sheet
from ivn.report.draw.picture import grey_out
from ivn.train.folder import CONFIG

_LABELS = 3  # labels of a clip, at most
_NAMED = 5  # unusable files that the sheet itself names, at most


def view(options: View) -> int:
    """Writes the sheet; returns 0.

    Raises:
        DataError: The sheet cannot be written, or no clip can be read.
    """
    place, data, clips = Path(options.out), options.data, options.clips
    run = Path(options.run) if options.run else None
    base = named_preset(options.preset or "stage1-base") if run is None else read(run / CONFIG)
    config = seeded(override(base, *options.settings), options.seed)
    _check(place, clips)
    sources = list_clips(data)
    try:
        networks = mask_networks(config, run)
        plan, few = _plan(config, sources)
        samples, replaced = first_samples(plan, networks.specs, clips)
    except ValueError as error:
        raise DataError(str(error)) from error
    lacks = [few] if few else []
    if networks.missing:
        lacks.append(f"no masks: {networks.missing}")
    notes = [*lacks]
    unusable = {one.path: one.reason for one in replaced}
    count = f"{len(unusable)} unusable file{'' if len(unusable) == 1 else 's'} replaced"
    for path, reason in unusable.items():
        print(f"replaced: {reason if reason.startswith(path) else f'{path}: {reason}'}")
    if unusable:
        some = ", ".join(os.path.basename(path) for path in list(unusable)[:_NAMED])
        more = ", ..." if len(unusable) > _NAMED else ""
        notes.append(f"{count}, as in training: {some}{more}")
    cells = [_cell(sample, networks) for sample in samples]
    made_by = f"ivn {version('ivn')}"
    title = _title(config, sources, data)
    sheet = contact_sheet(cells, title=title, notes=notes, made_by=made_by)
    write_text(place, sheet)
    for line in lacks:
        print(line, file=sys.stderr)
    print(f"{len(cells)} clips, {count}")
    print(place.as_posix())
    return 0


def _check(place: Path, clips: int) -> None:
    if place.suffix.lower() != ".html":
        raise RequestError(f"{place}: the sheet is a page, expected a name that ends in .html")
    check_absent(place)
    if not place.parent.is_dir():
        raise DataError(f"{place.parent}: no such folder")
    if not 1 <= clips <= 1000:
        raise RequestError(f"{clips} clips: expected 1 to 1000")


def _plan(config: Config, sources: Sequence[Source]) -> tuple[Plan, str]:
    """Returns the plan of the training; for too few sources, a smaller one and a line."""
    batch = config.optim.batch_size
    try:
        return Plan(sources, config.data, batch), ""
    except ValueError:
        few = len(sources) * config.data.repeats
        if few >= batch:
            raise
        line = f"{len(sources)} clips are fewer than one batch of {batch}, which training needs"
        return Plan(sources, config.data, few), line


def _title(config: Config, sources: Sequence[Source], data: str) -> str:
    stage = config.stage
    what = f"{stage.frames} frames of {stage.size} pixels, {config.data.augmentation}"
    name = f"{config.name}: " if config.name else ""
    return f"{name}{Path(data).name}, {len(sources)} clips; {what}, seed {config.data.seed}"


def _cell(sample: Sample, networks: MaskNetworks) -> Cell:
    source, crop = sample.source, sample.crop
    frames = sample.batch.clips["student"][0].numpy()
    patch = networks.config.model.encoder.patch_size
    films = {"frames": frames}
    shares = []
    for mask in networks.masks(sample.batch):
        films[mask.label] = grey_out(frames, mask.visible, patch_size=patch)
        shares.append(f"{len(mask.visible) * patch**2 / frames[..., 0].size:.0%}")
    h, w = sample.whole.shape[:2]
    lines = [f"{name}: {value}" for name, value in list(source.labels.items())[:_LABELS]]
    if source.start > 0 or source.end >= 0:
        end = f"{source.end:g} s" if source.end >= 0 else "the end"
        lines.append(f"window {source.start:g} s to {end}")
    mirrored = ", mirrored" if crop.flip else ""
    lines.append(f"{crop.width} x {crop.height} of {w} x {h}{mirrored}")
    if shares:
        lines.append(f"{', '.join(shares)} of the tokens visible")
    lines.append(f"frames at {', '.join(f'{time:.2f}' for time in sample.times)} s")
    return Cell(
        os.path.basename(source.member or source.path),
        lines,
        sample.whole,
        (crop.left, crop.top, crop.width, crop.height),
        films,
    )


def seeded(config: Config, seed: int) -> Config:
    """Returns the config with another seed; -1 keeps its own."""
    return config if seed == -1 else replace(config, data=replace(config.data, seed=seed))

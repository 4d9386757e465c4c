"""Draws masks, attention, reconstructions, features and neighbours of clips, alike for all runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ivn.media.source import Source
from ivn.report.draw.images import heat, thumbnail
from ivn.report.page.content import Film, Gallery, Missing, Strip
from ivn.stages.teachers import STUDENT

from . import features
from .clips import Clip, Specs, read_some
from .features import Eye, Floats
from .opened import FAILURES, Opened, device
from .reconstructions import reconstructions
from .views import Look, look, mask_films

SHOWN = 3  # clips of masks, reconstructions and features
GALLERY = 16  # clips that neighbours are looked for among
QUERIES = 5
NEAREST = 4
_SEVERAL = 2  # runs up to which each reconstructs all clips that are shown
# Multiplications and additions that a CPU may spend on features: a minute or so of one thread.
_CPU_BUDGET = 2e12


@dataclass(frozen=True)
class Pictures:
    """The drawn parts of a page."""

    masks: Sequence[Strip] = ()
    reconstructions: Sequence[Strip] = ()
    features: Sequence[Strip] = ()
    gallery: Gallery | None = None


def pictures(
    runs: Sequence[Opened],
    first: Sequence[Opened],
    sources: Sequence[Source],
    missing: list[Missing],
) -> Pictures:
    """Draws all pictures of some runs.

    Args:
        runs: the runs of the page.
        first: the runs that they started from, for their encoders and teachers.
        sources: sources of the clips.
        missing: gets a line for each picture that cannot be drawn.
    """
    runs = _placed(runs, missing)
    every = [*runs, *_placed(first, missing)]
    seeing = features.eyes(every, [run.name for run in runs])
    count = _affordable(seeing)
    able = [run for run in every if run.stage is not None or run.encoder is not None]
    if not able:
        return Pictures()
    clips = read_some(sources, {run.name: _specs(run) for run in able}, count, missing)
    if not clips:
        missing.append(Missing("all pictures", "no clip could be read"))
        return Pictures()
    numbers = [i * len(clips) // SHOWN for i in range(SHOWN)] if len(clips) > SHOWN else None
    shown = [clips[i] for i in numbers] if numbers is not None else clips
    masks = [
        strip
        for number, clip in enumerate(shown)
        for strip in [_masks(runs, clip, number, missing)]
        if strip is not None
    ]
    drawn = _reconstructions(runs, shown, missing)
    strips, gallery = _features(seeing, clips, shown, missing)
    return Pictures(masks, drawn, strips, gallery)


def _placed(runs: Sequence[Opened], missing: list[Missing]) -> list[Opened]:
    """Moves the runs to the device; those that do not fit lose their networks."""
    placed = []
    for run in runs:
        try:
            for part in (run.stage, run.encoder):
                if part is not None:
                    part.to(device())
            placed.append(run)
        except FAILURES as error:
            _tell(missing, f"pictures of {run.name}", error)
            placed.append(replace(run, stage=None, encoder=None))
    return placed


def _specs(run: Opened) -> Specs:
    specs = run.config.stage.clip_specs
    return specs if run.stage is not None else {STUDENT: specs[STUDENT]}


def _affordable(seeing: Sequence[Eye]) -> int:
    """Returns how many clips all networks can look at in reasonable time, one at least."""
    if device().type != "cpu" or not seeing:
        return GALLERY
    return max(1, min(GALLERY, int(_CPU_BUDGET / features.cost(seeing))))


def _masks(runs: Sequence[Opened], clip: Clip, number: int, missing: list[Missing]) -> Strip | None:
    films: list[Film] = []
    for run in runs:
        if run.stage is None:
            continue
        try:
            found = look(run, clip, number)
        except FAILURES as error:
            _tell(missing, f"masks of {run.name}", error)
            continue
        films += _looked(run, found, first=not films, several=len(runs) > 1)
    return Strip(clip.name, films) if films else None


def _looked(run: Opened, found: Look, *, first: bool, several: bool) -> list[Film]:
    films = [Film("frames", found.frames)] if first else []
    suffix = f" · {run.name}" if several else ""
    films += mask_films(found, patch_size=run.config.model.encoder.patch_size, suffix=suffix)
    if found.attention is not None:
        films.append(Film(f"teacher's attention{suffix}", heat(found.frames, found.attention)))
    return films


def _reconstructions(
    runs: Sequence[Opened], shown: Sequence[Clip], missing: list[Missing]
) -> list[Strip]:
    strips = []
    able = [
        run
        for run in runs
        if run.stage is not None and run.encoder is not None and run.stage.decoder_of_pixels
    ]
    # Noise does not compress: a clip of each of many runs is a page's worth of it.
    clips = shown if len(able) <= _SEVERAL else shown[:1]
    for run in able:
        try:
            found = reconstructions(run, clips)
        except FAILURES as error:
            _tell(missing, f"reconstructions of {run.name}", error)
            continue
        prefix = f"{run.name}, " if len(runs) > 1 else ""
        strips += [Strip(f"{prefix}{strip.title}", strip.films) for strip in found]
    return strips


def _features(
    seeing: Sequence[Eye], clips: Sequence[Clip], shown: Sequence[Clip], missing: list[Missing]
) -> tuple[list[Strip], Gallery | None]:
    films: list[list[Film]] = [[] for _ in shown]
    usable: list[tuple[Eye, list[Floats]]] = []
    for eye in seeing:
        own: list[Floats] = []
        drawn: list[Film] = []
        try:
            for clip in clips:
                found = features.see(eye, clip)
                own.append(found.mean((0, 1, 2)))
                if any(clip is one for one in shown):
                    drawn.append(features.film(eye, found))
        except FAILURES as error:
            _tell(missing, f"features of {eye.label}", error)
            continue
        usable.append((eye, own))
        for own_films, film in zip(films, drawn, strict=True):
            own_films.append(film)
    strips = [
        Strip(clip.name, [Film("frames", _frames(clip)), *own_films])
        for clip, own_films in zip(shown, films, strict=True)
        if own_films
    ]
    return strips, _gallery(usable, clips, missing)


def _gallery(
    seeing: Sequence[tuple[Eye, list[Floats]]],
    clips: Sequence[Clip],
    missing: list[Missing],
) -> Gallery | None:
    if not seeing:
        return None
    if len(clips) < 3:
        why = f"{len(clips)} clips are too few to compare"
        if device().type == "cpu":
            why += ", and more would take this CPU minutes"
        missing.append(Missing("nearest neighbours", why))
        return None
    queries = [i * len(clips) // QUERIES for i in range(min(QUERIES, len(clips)))]
    return Gallery(
        [clip.name for clip in clips],
        [thumbnail(middle) for middle in map(_middle, clips)],
        [features.neighbours(eye, means, queries, NEAREST) for eye, means in seeing],
    )


def _frames(clip: Clip) -> np.ndarray:
    views = next(iter(clip.views.values()))
    return views[STUDENT][0].numpy()


def _middle(clip: Clip) -> np.ndarray:
    frames = _frames(clip)
    return frames[len(frames) // 2]


def _tell(missing: list[Missing], what: str, error: Exception) -> None:
    told = Missing(what, str(error))
    if told not in missing:
        missing.append(told)

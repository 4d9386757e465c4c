"""Draws masks, attention, reconstructions, features and neighbours of clips, alike for all runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ivn.devices import resolve_device
from ivn.media.source import Source
from ivn.progress import tracked
from ivn.report.draw.images import Pixels, heat, thumbnail
from ivn.report.page.content import Film, Gallery, Missing, Pictures, Strip
from ivn.stages.teachers import STUDENT

from . import features
from .clips import Clip, Specs, read_some, spread
from .features import Extractor, Floats
from .opened import FAILURES, Opened
from .reconstructions import reconstructions
from .views import mask_films, masked_clip

SHOWN = 3  # clips of masks, reconstructions and features
GALLERY = 16  # clips that neighbours are looked for among
QUERIES = 5
NEAREST = 4
_SEVERAL = 2  # runs up to which each reconstructs all clips that are shown
# Multiplications and additions that a CPU may spend on features: a minute or so of one thread.
_CPU_BUDGET = 2e12


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
    networks = features.extractors(every, [run.name for run in runs])
    able = [run for run in every if run.stage is not None or run.encoder is not None]
    if not able:
        return Pictures()
    specs = {run.name: _specs(run) for run in able}
    clips = read_some(sources, specs, _affordable(networks), missing)
    if not clips:
        missing.append(Missing("all pictures", "no clip could be read"))
        return Pictures()
    shown = spread(clips, SHOWN)[:SHOWN]
    masks = [
        Strip(clip.name, _masks(runs, clip, number, missing))
        for number, clip in enumerate(tracked(shown, "masks", len(shown), errors=True))
    ]
    drawn = _reconstructions(runs, shown, missing)
    strips, gallery = _features(networks, clips, shown, missing)
    return Pictures([strip for strip in masks if strip.films], drawn, strips, gallery)


def _placed(runs: Sequence[Opened], missing: list[Missing]) -> list[Opened]:
    """Moves the runs to the device; those that do not fit lose their networks."""
    placed = []
    for run in runs:
        with _told(missing, f"pictures of {run.name}"):
            for part in (run.stage, run.encoder):
                if part is not None:
                    part.to(resolve_device())
            placed.append(run)
            continue
        placed.append(replace(run, stage=None, encoder=None))
    return placed


def _specs(run: Opened) -> Specs:
    specs = run.config.stage.clip_specs
    return specs if run.stage is not None else {STUDENT: specs[STUDENT]}


def _affordable(networks: Sequence[Extractor]) -> int:
    """Returns how many clips all networks can look at in reasonable time, one at least."""
    if resolve_device().type != "cpu" or not networks:
        return GALLERY
    cost = sum(extractor.cost for extractor in networks)
    return max(1, min(GALLERY, int(_CPU_BUDGET / cost)))


def _masks(runs: Sequence[Opened], clip: Clip, number: int, missing: list[Missing]) -> list[Film]:
    films: list[Film] = []
    for run in runs:
        if run.stage is None:
            continue
        with _told(missing, f"masks of {run.name}"):
            found = masked_clip(run, clip, number)
            suffix = f" · {run.name}" if len(runs) > 1 else ""
            if not films:
                films.append(Film("frames", found.frames))
            patch_size = run.config.model.encoder.patch_size
            films += mask_films(found, patch_size=patch_size, suffix=suffix)
            if found.attention is not None:
                warm = heat(found.frames, found.attention)
                films.append(Film(f"teacher's attention{suffix}", warm))
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
        prefix = f"{run.name}, " if len(runs) > 1 else ""
        with _told(missing, f"reconstructions of {run.name}"):
            found = reconstructions(run, clips)
            strips += [Strip(f"{prefix}{strip.title}", strip.films) for strip in found]
    return strips


def _features(
    networks: Sequence[Extractor],
    clips: Sequence[Clip],
    shown: Sequence[Clip],
    missing: list[Missing],
) -> tuple[list[Strip], Gallery | None]:
    films: list[list[Film]] = [[] for _ in shown]
    usable: list[tuple[Extractor, list[Floats]]] = []
    for extractor in tracked(networks, "networks", len(networks), errors=True):
        with _told(missing, f"features of {extractor.label}"):
            means, drawn = [], []
            for clip in clips:
                found = features.extract(extractor, clip)
                means.append(found.mean((0, 1, 2)))
                if any(clip is one for one in shown):
                    drawn.append(features.film(extractor, found))
            usable.append((extractor, means))
            # The clips that are shown are among all clips, in the same order.
            for own, film in zip(films, drawn, strict=True):
                own.append(film)
    strips = [
        Strip(clip.name, [Film("frames", _frames(clip)), *own])
        for clip, own in zip(shown, films, strict=True)
        if own
    ]
    return strips, _gallery(usable, clips, missing) if usable else None


def _gallery(
    networks: Sequence[tuple[Extractor, list[Floats]]],
    clips: Sequence[Clip],
    missing: list[Missing],
) -> Gallery | None:
    if len(clips) < 3:
        why = f"{len(clips)} clips are too few to compare"
        if resolve_device().type == "cpu":
            why += ", and more would take this CPU minutes"
        missing.append(Missing("nearest neighbours", why))
        return None
    queries = spread(range(len(clips)), QUERIES)[:QUERIES]
    middles = [frames[len(frames) // 2] for frames in map(_frames, clips)]
    return Gallery(
        [clip.name for clip in clips],
        [thumbnail(middle) for middle in middles],
        [features.neighbours(extractor, means, queries, NEAREST) for extractor, means in networks],
    )


def _frames(clip: Clip) -> Pixels:
    return next(iter(clip.views.values()))[STUDENT][0].numpy()


@contextmanager
def _told(missing: list[Missing], what: str) -> Iterator[None]:
    """Adds a line, once, about what the block fails to draw."""
    try:
        yield
    except FAILURES as error:
        told = Missing(what, str(error))
        if told not in missing:
            missing.append(told)

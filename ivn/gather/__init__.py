"""Turns run folders into what a page shows; what cannot be had is told in words, not raised."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from ivn.config import Config, differences
from ivn.data.source import Source, list_clips
from ivn.report.content import Content, Missing

from .opened import Opened, first_run, open_run
from .pictures import Pictures, pictures
from .records import read_run

__all__ = ["gather"]


def gather(paths: Sequence[Path], *, clips: str = "") -> Content:
    """All that a page about some runs shows.

    Args:
        paths: the runs' folders, at least one.
        clips: a folder or list of clips to draw; "" takes those that the runs were trained on.

    Raises:
        FileNotFoundError: a folder holds no run.
        DataError: ``clips`` was given and holds none.
    """
    given = list_clips(Path(clips).absolute()) if clips else []
    names = short_names(paths)
    # All of them before anything slow: one may be no run.
    read = [read_run(path, name) for path, name in zip(paths, names, strict=True)]
    missing = [list(run.missing) for run, _, _ in read]
    configs = {run.name: config for run, config, _ in read if config is not None}
    opened: dict[Path, Opened] = {}
    for path, (run, config, _), lacks in zip(paths, read, missing, strict=True):
        if config is not None:
            opened[path.resolve()] = open_run(path, config, run.name, lacks)
    first: dict[Path, Opened] = {}
    for (_, config, source), lacks in zip(read, missing, strict=True):
        start = first_run(source, lacks) if config is not None else None
        if start is not None and start[0] not in opened | first:
            name = start[0].name if start[0].name not in names else str(start[0])
            own: list[Missing] = []
            first[start[0]] = open_run(*start, name, own)
            lacks += [Missing(f"{one.what} of {name}, its start", one.why) for one in own]
    rest: list[Missing] = []
    sources = given or _sources([source.get("data") for _, _, source in read], rest)
    found = Pictures()
    if sources and opened:
        found = pictures(list(opened.values()), list(first.values()), sources, rest)
    return Content(
        runs=[
            replace(run, missing=tuple(lacks))
            for (run, _, _), lacks in zip(read, missing, strict=True)
        ],
        between=_between(configs, names),
        masks=found.masks,
        reconstructions=found.reconstructions,
        features=found.features,
        gallery=found.gallery,
        missing=rest,
        made_by=f"ivn {version('ivn')}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
    )


def short_names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, with as much of their paths as makes them different."""
    parts = [path.absolute().parts for path in paths]
    depth = 1
    names = [path.absolute().name for path in paths]
    while len(set(names)) < len(names) and depth < max(map(len, parts)):
        depth += 1
        names = ["/".join(part[-depth:]) for part in parts]
    return names if len(set(names)) == len(names) else [f"{n} #{i}" for i, n in enumerate(names, 1)]


def _sources(places: Sequence[object], missing: list[Missing]) -> list[Source]:
    """The clips of the first of some places that has any."""
    reasons = []
    for place in dict.fromkeys(place for place in places if isinstance(place, str) and place):
        try:
            return list_clips(place)
        except (OSError, ValueError) as error:
            reasons.append(str(error))
    why = "; ".join(reasons) or "no run tells where its clips are"
    missing.append(Missing("all pictures", f"{why}. Give others with --clips FOLDER|LIST"))
    return []


def _between(configs: dict[str, Config], names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The settings in which runs differ, with their value in each run."""
    if len(configs) < 2:
        return []
    (base_name, base), *others = configs.items()
    rows: dict[str, dict[str, str]] = {}
    for name, config in others:
        for key, ours, theirs in differences(base, config):
            rows.setdefault(key, {base_name: ours})[name] = theirs
    return [
        (key, tuple(row.get(n, row[base_name]) if n in configs else "" for n in names))
        for key, row in rows.items()
    ]

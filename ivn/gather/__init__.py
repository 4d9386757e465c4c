"""Turns run folders into what a page shows; what cannot be had is told in words, not raised."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from ivn.config import Config, differences
from ivn.data.source import Source, list_clips
from ivn.report.content import Content, Missing, Run

from .opened import Opened, open_first, open_run
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
    runs: list[Run] = []
    configs: dict[str, Config] = {}
    opened: dict[Path, Opened] = {}
    read = []
    for path, name in zip(paths, names, strict=True):
        run, config, source = read_run(path, name)
        runs.append(run)
        read.append((path, name, config, source))
    # Only now: that one of them is no run shows before anything slow begins.
    missing: list[list[Missing]] = [list(run.missing) for run in runs]
    for lacks, (path, name, config, _) in zip(missing, read, strict=True):
        if config is not None:
            configs[name] = config
            opened[path.resolve()] = open_run(path, name, config, lacks)
    first = []
    for lacks, (_, _, config, source) in zip(missing, read, strict=True):
        if config is not None:
            first += [one for one in [open_first(source, opened, lacks)] if one is not None]
    rest: list[Missing] = []
    sources = given or _sources([source.get("data") for *_, source in read], rest)
    found = Pictures()
    if sources and opened:
        found = pictures(list(opened.values()), _distinct(first), sources, rest)
    runs = [
        Run(**{**vars(run), "missing": lacks}) for run, lacks in zip(runs, missing, strict=True)
    ]
    return Content(
        runs=runs,
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


def _distinct(runs: Sequence[Opened]) -> list[Opened]:
    """Runs that several started from, once."""
    found: dict[str, Opened] = {}
    for run in runs:
        found.setdefault(run.name, run)
    return list(found.values())


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

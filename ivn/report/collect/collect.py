"""Turns run folders into the content of a page, which lists whatever could not be read."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from ivn.config.run import Config, differences
from ivn.data.manifest.listing import list_clips
from ivn.media.source import Source
from ivn.report.page.content import Content, Missing, Pictures

from .names import run_names
from .opened import Opened, first_run, open_run
from .pictures import pictures
from .records import read_run

__all__ = ["gather"]


def gather(paths: Sequence[Path], *, clips: str = "") -> Content:
    """Returns the content of a page about some runs.

    Args:
        paths: the runs' folders, at least one.
        clips: a folder or list of clips to draw; "" for the clips that the runs were trained on.

    Raises:
        FileNotFoundError: a folder holds no run.
        DataError: ``clips`` is given and holds no clip.
    """
    given = list_clips(Path(clips).absolute()) if clips else []
    # All of them before anything slow: one may be no run.
    read = [read_run(path) for path in paths]
    starts: dict[Path, tuple[Config, list[Missing]]] = {}
    given_paths = [path.resolve() for path in paths]
    for run, config, source in read:
        start = first_run(source, run.missing) if config is not None else None
        if start is not None and start[0] not in given_paths:
            starts.setdefault(start[0], (start[1], run.missing))
    every = run_names([*paths, *starts])
    names = every[: len(paths)]
    configs: dict[str, Config] = {}
    opened: dict[Path, Opened] = {}
    for path, name, (run, config, _) in zip(paths, names, read, strict=True):
        if config is not None:
            configs[name] = config
            opened[path.resolve()] = open_run(path, config, name, run.missing)
    first: list[Opened] = []
    for (path, (config, lacks)), name in zip(starts.items(), every[len(paths) :], strict=True):
        own: list[Missing] = []
        first.append(open_run(path, config, name, own))
        lacks += [Missing(f"{one.what} of {name}, its start", one.why) for one in own]
    drawn, rest = Pictures(), list[Missing]()
    sources = given or _sources([source.get("data") for _, _, source in read], rest)
    if sources and opened:
        drawn = pictures(list(opened.values()), first, sources, rest)
    return Content(
        runs=[replace(run, name=name) for (run, _, _), name in zip(read, names, strict=True)],
        between=_between(configs, names),
        pictures=drawn,
        missing=rest,
        made_by=f"ivn {version('ivn')}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
    )


def _sources(places: Sequence[object], missing: list[Missing]) -> Sequence[Source]:
    """Returns the sources at the first of some places that has any."""
    reasons = []
    for place in dict.fromkeys(place for place in places if isinstance(place, str) and place):
        try:
            return list_clips(place)
        except (OSError, ValueError) as error:
            reasons.append(str(error))
    why = "; ".join(reasons) or "no run says where its clips are"
    missing.append(Missing("all pictures", f"{why}. Give others with --clips FOLDER|LIST"))
    return []


def _between(configs: dict[str, Config], names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the settings in which runs differ, with their value in each run."""
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

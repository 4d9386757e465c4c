"""Reads the words and numbers in a run's folder, and lists whatever cannot be read."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from ivn.config.presets import PRESETS
from ivn.config.run import Config, differences, from_toml
from ivn.errors import ConfigError
from ivn.evaluate.results import PROBES, RESULT
from ivn.report.page.content import Missing, Run, RunLog, Series, finite
from ivn.train import checkpoint, folder

# Bytes of a result or of a run's record: a larger file is none.
_LARGEST = 8 * 2**20
_LONGEST = 1e6  # seconds of a step: beyond this a log was not written by training


def read_run(path: Path) -> tuple[Run, Config | None, dict[str, Any]]:
    """Returns a run in words and numbers, its config (or None) and its record of data (or {}).

    Args:
        path: the run's folder, whose name is the run's.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    folder.check_run(path)
    missing: list[Missing] = []
    text, config = _config(path, missing)
    source = _json(path / folder.SOURCE, "data and first weights", missing)
    log = _log(path, missing)
    saved = checkpoint.latest(path)
    card: dict[str, Any] = {}
    if saved is not None:
        card = _json(saved / checkpoint.CARD, "the checkpoint's card", missing)
    seconds = _step_seconds(log, config)
    preset = config.name if config is not None and config.name in PRESETS else ""
    run = Run(
        name=path.name,
        stage=config.stage.label if config is not None else "",
        facts=_facts(path, config, source, log, seconds, saved, card),
        log=log,
        seconds_per_step=(fmean(w for w, _ in seconds), fmean(c for _, c in seconds))
        if seconds
        else None,
        config=text,
        preset=preset,
        changes=differences(config, PRESETS[preset]()) if config is not None and preset else (),
        probes=_probes(path, missing),
        missing=missing,
    )
    return run, config, source


def _config(path: Path, missing: list[Missing]) -> tuple[str, Config | None]:
    try:
        text = (path / folder.CONFIG).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        missing.append(Missing("config", f"{folder.CONFIG} cannot be read: {_words(error)}"))
        return "", None
    try:
        return text, from_toml(text)
    except ConfigError as error:
        missing.append(
            Missing("everything that needs the config", f"{folder.CONFIG} does not fit: {error}")
        )
        return text, None


def _json(file: Path, what: str, missing: list[Missing]) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MB")
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict):
            return content
        reason = "expected a table"
    except (OSError, ValueError, RecursionError) as error:
        reason = _words(error)
    missing.append(Missing(what, f"{file.name} cannot be read: {reason}"))
    return {}


def _log(path: Path, missing: list[Missing]) -> RunLog | None:
    file = path / folder.LOG
    try:
        lines = file.read_bytes().splitlines() if file.exists() else []
    except OSError as error:
        missing.append(Missing("curves and timing", f"{file.name}: {_words(error)}"))
        return None
    rows, odd = _rows(lines)
    if odd:
        missing.append(Missing(f"{odd} of {len(lines)} lines of the log", "cut off or damaged"))
    if not rows:
        reason = "is empty" if file.exists() else "is not there"
        missing.append(Missing("curves and timing", f"{file.name} {reason}: no step was logged"))
        return None
    points: dict[str, tuple[list[float], list[float]]] = {}
    replaced: Counter[tuple[str, str]] = Counter()
    for step, row in rows.items():
        for name, value in _numbers(row):
            steps, values = points.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
        replacements = row.get("replacements")
        for one in replacements if isinstance(replacements, list) else ():
            if isinstance(one, dict):
                replaced[str(one.get("path")), str(one.get("reason"))] += 1
    return RunLog(
        series={name: Series(*pair) for name, pair in points.items()},
        last_step=max(rows),
        skipped=sum(row.get("skipped") is True for row in rows.values()),
        warnings=[(s, str(row["warning"])) for s, row in rows.items() if "warning" in row],
        replaced=replaced,
    )


def _rows(lines: list[bytes]) -> tuple[dict[int, dict[str, Any]], int]:
    """Returns the line of each step, ascending, and the number of lines that are damaged."""
    rows: dict[int, dict[str, Any]] = {}
    odd = 0
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        step = row.get("step") if isinstance(row, dict) else None
        if type(step) is int and 0 <= step < 2**53:
            rows[step] = row
        else:
            odd += 1
    return dict(sorted(rows.items())), odd


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields every finite number in nested tables with its dotted name."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif prefix or name not in ("step", "epoch", "replaced"):
            number = finite(value)
            if number is not None:
                yield f"{prefix}{name}", number


def _probes(path: Path, missing: list[Missing]) -> dict[str, dict[str, Any]]:
    results = {
        file.parent.name: _json(file, f"probe {file.parent.name}", missing)
        for file in sorted((path / PROBES).glob(f"*/{RESULT}"))
    }
    return {name: content for name, content in results.items() if content}


def _facts(
    path: Path,
    config: Config | None,
    source: Mapping[str, Any],
    log: RunLog | None,
    seconds: Sequence[tuple[float, float]],
    saved: Path | None,
    card: Mapping[str, Any],
) -> list[tuple[str, str]]:
    facts = [("folder", str(path.absolute()))]
    if config is not None:
        facts.append(("preset", config.name))
    if log is not None:
        total = "" if config is None or not config.optim.steps else f" of {config.optim.steps}"
        facts.append(("steps", f"{log.last_step}{total}"))
        if log.skipped:
            facts.append(("skipped steps", f"{log.skipped}, not finite"))
    if seconds:
        whole = round(sum(map(sum, seconds)))
        facts.append(("time in steps", str(timedelta(seconds=whole))))
    facts += [
        (name, str(source[key]))
        for name, key in (("data", "data"), ("clips", "clips"), ("starts from", "init"))
        if source.get(key)
    ]
    if saved is not None:
        facts.append(("checkpoint", saved.name))
    return [*facts, *_recorded(card)]


def _recorded(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields machine, versions and commit, as far as a checkpoint's card has them."""
    if card.get("ivn"):
        yield "ivn", str(card["ivn"])
    if card.get("git_commit"):
        yield "commit", str(card["git_commit"])
    for key, form in (("machine", "{1}"), ("versions", "{0} {1}")):
        table = card.get(key)
        if isinstance(table, dict) and table:
            yield key, "; ".join(form.format(*item) for item in table.items())


def _step_seconds(log: RunLog | None, config: Config | None) -> list[tuple[float, float]]:
    """Returns the seconds that each step waits for data, and that it computes."""
    if log is None or config is None:
        return []
    speed, share = log.series.get("clips_per_s"), log.series.get("wait_share")
    if speed is None or share is None or speed.steps != share.steps:
        return []
    size = config.optim.batch_size
    return [
        (size / clips * wait, size / clips * (1 - wait))
        for clips, wait in zip(speed.values, share.values, strict=True)
        if clips > 0 and 0 <= wait <= 1 and size / clips < _LONGEST
    ]


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).partition("\n")[0] or type(error).__name__

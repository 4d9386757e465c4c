"""``ivn ablate``: runs the rows of a table, probes each, and writes it beside the paper's.

OUT/ablation.json            what all of it is made from; another call must say the same
OUT/table-NAME.md, .json     the table as far as it is known, written again after each run
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ivn.data.manifest.identity import fingerprint, recorded
from ivn.data.manifest.listing import list_clips
from ivn.devices import resolve_device
from ivn.durable import write_text
from ivn.errors import DataError, RunError, UserError
from ivn.evaluate.account import Account
from ivn.evaluate.dataset import check
from ivn.media.source import Source
from ivn.provenance import provenance

from .options import Ablate
from .paper import table
from .runs import Lab
from .table import shown

RECORD = "ablation.json"
_FORMAT = 2  # of it


def ablate(options: Ablate) -> int:
    """Runs every row with every seed that was not done before.

    Returns:
        The exit code: 0, 1 if a row failed, or the code of a run that was stopped, after which the
        same call continues.

    Raises:
        RunError, DataError, ConfigError, OSError: a row, its data or its settings cannot be used.
    """
    if options.seeds < 1:
        raise RunError(f"{options.seeds} seeds, expected at least 1")
    weights = str(Path(options.internvideo2).absolute()) if options.internvideo2 else ""
    chosen = table(options.table, options.scale, internvideo2=weights)
    clips = list_clips(options.probe or options.data)
    accounts, refused = _labels(clips, options.labels)
    several = [name for name, account in accounts.items() if account.several]
    lab = Lab(options, chosen, clips, list(accounts), several)
    for row in chosen.rows:
        lab.config(row, 0)  # a wrong setting fails before the first run, not hours later
    _record(lab)
    for name, reason in refused.items():
        print(f"label {name} is left out: {reason}")
    for name, account in accounts.items():
        for line in account.lines():
            print(f"label {name}: {line}")
    failed: dict[str, str] = {}
    for seed in range(options.seeds):
        for holder, baseline in lab.baselines(seed).items():
            lab.probe(baseline, holder)
        for row in chosen.rows:
            run_dir = lab.run_dir(row, seed)
            if row.missing or row.name in failed or lab.probed(run_dir):
                continue
            print(f"\n{row.name}, seed {seed}: {run_dir}", flush=True)
            try:
                if code := lab.train(row, seed):
                    print("stopped; the same command goes on from here", flush=True)
                    return code
                lab.probe(lab.trained(row, seed), run_dir)
            except UserError as error:
                # Other rows may do without what this one lacks; the table says why it is empty.
                failed[row.name] = str(error)
                print(f"{row.name}: {error}", flush=True)
            _write(lab, failed)
    print(f"\n{_write(lab, failed)}")
    return 1 if failed else 0


def _write(lab: Lab, failed: dict[str, str]) -> str:
    """Writes the table as far as it is known; returns its Markdown."""
    record = {
        "format": 1,
        "table": lab.table.name,
        "about": provenance(resolve_device()),
        "scale": lab.options.scale,
        "seeds": lab.options.seeds,
        "changes": list(lab.options.settings),
        "clips": len(lab.clips),
        "columns": list(lab.table.columns),
        "notes": [
            *lab.table.notes,
            *(f"{name}: mean average precision, of several labels a clip." for name in lab.several),
        ],
        "labels": list(lab.labels),
        "rows": [asdict(line) for line in lab.lines(failed)],
    }
    text = shown(record)
    stem = lab.out / f"table-{lab.table.name}"
    write_text(stem.with_suffix(".md"), text + "\n", overwrite=True)
    write_text(stem.with_suffix(".json"), json.dumps(record, indent=1) + "\n", overwrite=True)
    return text


def _labels(
    clips: Sequence[Source], chosen: tuple[str, ...]
) -> tuple[dict[str, Account], dict[str, str]]:
    """Returns the labels to evaluate, ``chosen`` or all that fit; and the others, with reasons."""
    accounts: dict[str, Account] = {}
    names = sorted({name for clip in clips for name in clip.labels})
    if not names:
        raise RunError(
            "the clips have no labels to probe: give --data or --probe a list or manifest with some"
        )
    refused: dict[str, str] = {}
    for name in chosen or names:
        try:
            accounts[name] = check(clips, label=name)
        except DataError as error:
            if chosen:
                raise RunError(f"label {name}: {error}") from error
            refused[name] = str(error)
    if not accounts:
        raise RunError(f"no label can be evaluated; {next(iter(refused.values()))}")
    return accounts, refused


def _record(lab: Lab) -> None:
    """Notes in OUT what all of it is made from, or checks that it is the same as before."""
    data = list_clips(lab.data)
    now: dict[str, Any] = {
        "format": _FORMAT,
        "data": lab.data,
        "fingerprint": recorded(data)[0],
        "probe": _labels_digest(lab.clips),
        "scale": lab.options.scale,
        "changes": list(lab.options.settings),
    }
    file = lab.out / RECORD
    if file.exists():
        before = _read(file)
        # One without a number has fingerprints of whole paths.
        known = before.get("format") == _FORMAT
        whole = {"fingerprint": fingerprint(data), "probe": _whole_labels_digest(lab.clips)}
        same = {name: value for name, value in now.items() if name not in ("format", "data")}
        for name, value in (same if known else same | whole).items():
            if before.get(name) != value:
                raise RunError(
                    f"{lab.out} was made with {name} {before.get(name)}, not {value}: give the "
                    "same, or another --out"
                )
        if before.get("data") != lab.data:
            print(f"the clips are at {lab.data} by now, with the names and labels that they had")
    elif lab.out.exists() and any(lab.out.iterdir()):
        raise RunError(f"{lab.out} is not empty and holds no ablation; choose a new folder")
    lab.out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(now, indent=1) + "\n", overwrite=True)


def _labels_digest(clips: Sequence[Source]) -> str:
    """Returns the SHA-256 of the clips with their labels and groups."""
    labelled = [recorded(clips)[0], *((clip.group, sorted(clip.labels.items())) for clip in clips)]
    return hashlib.sha256(repr(labelled).encode()).hexdigest()


def _whole_labels_digest(clips: Sequence[Source]) -> str:
    """Returns the digest that format 1 recorded: clips are identified by their whole paths."""
    labelled = [(fingerprint([clip]), clip.group, sorted(clip.labels.items())) for clip in clips]
    return hashlib.sha256(repr(labelled).encode()).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{file} is not as it was written ({error}); choose a new --out") from None

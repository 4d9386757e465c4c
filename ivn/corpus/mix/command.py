"""``ivn data mix``: several manifests to one, with bars and a table at the end."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ivn.corpus.limits import Limits
from ivn.corpus.mix import mixing, report
from ivn.corpus.mix.answers import Answers
from ivn.corpus.mix.compare import same_content
from ivn.corpus.mix.contents import find_out, perceptual_hash
from ivn.corpus.mix.mixing import Entries, Entry, Why
from ivn.corpus.mix.near import candidates
from ivn.corpus.mix.options import Mix
from ivn.corpus.mix.phash import as_arrays
from ivn.corpus.mix.recipe import Recipe, Wanted, given_to, read_recipe
from ivn.corpus.progress import verdict
from ivn.data.manifest.parquet import Row, check_new, manifest_at, read_rows, write_manifest
from ivn.durable import check_absent, partial, parts_of, write_text
from ivn.errors import DataError, RequestError
from ivn.media.storage import hash_of
from ivn.progress import Bars, bars, output

_NAMED = 5


def mix_manifests(request: Mix) -> int:
    """Writes the manifest, its report and the list of rows that are not in it.

    Returns 0, or 1 if a larger share of the rows than allowed cannot be read.

    Raises:
        DataError: an input makes no sense, or nothing is left.
    """
    inputs, out, recipe, weights = request.manifests, request.out, request.recipe, request.weight
    place = Path(out)
    check_new(place)
    told = [place.with_suffix(".mix.json"), place.with_suffix(".dropped.csv")]
    # With a mix begun beside them, they are of a call that was cut off at its very end.
    if not partial(place).exists():
        for file in told:
            check_absent(file)
    manifests = named_manifests(inputs)
    rules = read_recipe(recipe) if recipe else Recipe(tuple(map(Wanted, manifests)))
    sources = given_to(_weighted(rules, weights), manifests)
    console = output()
    with parts_of(place, {"command": "mix", "seconds": request.seconds}) as parts:
        answers = Answers(parts)
        entries = mixing.read_entries(rules, sources)
        try:
            with bars(console) as shown:
                judge(entries, answers, request, shown)
        finally:
            # When stopped, too: what is known need not be asked again.
            answers.flush()
        found = report.as_json(entries, recipe)
        bad = _tell(console, entries, found)
        if not found["kept"]:
            raise DataError(f"no row is left for {place}, which is not written")
        texts = [report.to_text(found), report.as_csv(entries)]
        with parts.completed() as whole:
            write_manifest(whole, mixed_rows(entries, place))
            for file, text in zip(told, texts, strict=True):
                write_text(file, text, overwrite=True)
    for file in (place, *told):
        console.print(file.as_posix(), markup=False)
    return verdict(console, bad, len(entries.all), request.max_bad, what="cannot be read")


def judge(entries: Entries, answers: Answers, limits: Limits, shown: Bars) -> None:
    """Takes out of ``entries`` the rows that the recipe and the contents of the videos rule out.

    Args:
        entries: rows of the manifests.
        answers: answers about videos that are known already.
        limits: number of processes, and time limit per video and per comparison of two.
        shown: bars, to which one for each kind of question is added.
    """
    mixing.drop_by_group(entries)

    def ask(what: str, function: Callable[[Any], Any], items: list[Any]) -> list[tuple[Any, str]]:
        tell = shown.add(what, total=len(items)).advance
        return find_out(function, items, answers, limits, tell)

    unhashed = _perhaps_copies(entries)
    whole = [entry.video for entry in unhashed]
    for entry, (found, _) in zip(unhashed, ask("bytes", hash_of, whole), strict=True):
        # A file that cannot be read is named when its frames are asked for.
        entry.hash = found or ""
    mixing.drop_copies(entries)
    unseen = [entries.all[n] for n in entries.judged() if not entries.all[n].phash]
    clips = [entry.clip for entry in unseen]
    for entry, (found, reason) in zip(unseen, ask("frames", perceptual_hash, clips), strict=True):
        entry.phash = found or ""
        if reason and not entry.held_out:
            entry.drop(Why.UNREADABLE, note=reason)
    seen = [number for number in entries.judged() if entries.all[number].phash]
    likely = candidates(*as_arrays(entries.all[number].phash for number in seen))
    pairs = [
        (seen[one], seen[other])
        for one, other in likely.tolist()
        if mixing.comparable(entries.all[seen[one]], entries.all[seen[other]])
    ]
    both = [(entries.all[one].clip, entries.all[other].clip) for one, other in pairs]
    alike = []
    for pair, (same, reason) in zip(pairs, ask("pairs", same_content, both), strict=True):
        if same:
            alike.append(pair)
        elif reason:
            entries.not_compared.append((*pair, reason))
    mixing.drop_near(entries, alike)


def mixed_rows(entries: Entries, out: Path) -> Iterator[Row]:
    """Yields the rows that stay, with the hashes that were found."""
    at = iter(entries.all)
    for number, (wanted, path) in enumerate(entries.sources):
        for row in read_rows(path, beside=out):
            entry = next(at, None)
            if entry is None or entry.source != number or entry.member != row.member:
                raise DataError(f"{path}: has been changed in the meantime")
            if entry.why is not None:
                continue
            label = row.labels.get("label")
            named = {} if label is None else {"label": entries.recipe.label(label)}
            yield replace(
                row,
                labels={**row.labels, **named},
                hash=entry.hash,
                phash=entry.phash,
                source=row.source or wanted.name,
                weight=row.weight * wanted.weight,
            )


def named_manifests(inputs: Sequence[str]) -> dict[str, Path]:
    """Returns name -> manifest for each ``NAME=M.parquet``, or path under its file's name.

    Raises:
        DataError: two have one name, or there is no such file.
    """
    found: dict[str, Path] = {}
    for text in inputs:
        name, equals, path = text.partition("=")
        if not equals or os.path.exists(text):
            name, path = Path(text).stem, text
        if name in found:
            raise RequestError(f"{text}: a second manifest {name}; name them, as in {name}2={path}")
        found[name] = manifest_at(path)
    return found


def _weighted(recipe: Recipe, weights: Sequence[str]) -> Recipe:
    given: dict[str, float] = {}
    names = [one.name for one in recipe.sources]
    for text in weights:
        name, _, number = text.partition("=")
        try:
            given[name] = float(number)
        except ValueError:
            given[name] = -1.0
        if name not in names or not 0 < given[name] < float("inf"):
            raise RequestError(
                f"--weight {text}: expected NAME=NUMBER above 0, with {' or '.join(names)}"
            )
    sources = tuple(replace(one, weight=given.get(one.name, one.weight)) for one in recipe.sources)
    return replace(recipe, sources=sources)


def _perhaps_copies(entries: Entries) -> list[Entry]:
    """Returns rows without a hash that have the size of another: only these can be copies."""
    sizes: dict[int, list[Entry]] = {}
    for number in entries.judged():
        entry = entries.all[number]
        if not entry.bytes and not entry.member:
            try:
                entry.bytes = os.stat(entry.path).st_size
            except OSError:
                continue
        sizes.setdefault(entry.bytes, []).append(entry)
    return [e for alike in sizes.values() if len(alike) > 1 for e in alike if not e.hash]


def _tell(console: Console, entries: Entries, found: Mapping[str, Any]) -> int:
    """Prints the table and unreadable videos; returns the count of the latter."""
    lines = report.as_lines(dict(found))
    table = Table(*lines[0])
    for line in lines[1:]:
        table.add_row(*line)
    console.print(table)
    unreadable = [one for one in entries.all if one.why is Why.UNREADABLE]
    for one in unreadable[:_NAMED]:
        console.print(f"not in the mix: {one.note}", markup=False)
    if len(unreadable) > _NAMED:
        console.print(f"and {len(unreadable) - _NAMED} more that cannot be read", markup=False)
    if entries.not_compared:
        *pair, reason = entries.not_compared[0]
        names = [entries.all[number].path for number in pair]
        console.print(
            f"pairs that look alike, could not be compared and stay: {len(entries.not_compared)} "
            f"({names[0]} and {names[1]}: {reason})",
            markup=False,
        )
    return len(unreadable)

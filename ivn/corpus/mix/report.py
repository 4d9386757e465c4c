"""Report on the rows that a mix drops: counts as JSON, a table, and a list of the rows."""

import csv
import io
import json
from collections import Counter
from typing import Any

from ivn.corpus.mix.mixing import Entries, Entry, Why

# Examples for each pair of sources and reason.
_EXAMPLES = 5


def as_json(entries: Entries, recipe: str) -> dict[str, Any]:
    """Returns the report as plain values.

    They are ``kept``, ``rows``, ``sources`` with counts of reasons, ``pairs`` with examples, and
    ``not_compared``.

    Args:
        entries: all rows, with the reasons of those that are not in the mix.
        recipe: name of the recipe, "" without one.
    """
    names = [wanted.name for wanted, _ in entries.sources]
    sources = []
    for number, (wanted, path) in enumerate(entries.sources):
        mine = [one for one in entries.all if one.source == number]
        reasons = Counter(one.why for one in mine if one.why is not None)
        sources.append(
            {
                "name": wanted.name,
                "manifest": str(path),
                "weight": wanted.weight,
                "rows": len(mine),
                "kept": sum(one.why is None for one in mine),
                "dropped": {why.value: reasons[why] for why in Why if reasons[why]},
            }
        )
    return {
        "format": 1,
        "recipe": recipe,
        "about": entries.recipe.about.strip(),
        "rows": len(entries.all),
        "kept": sum(one.why is None for one in entries.all),
        "sources": sources,
        "pairs": _pairs(entries, names),
        "not_compared": [
            [_name(entries.all[one]), _name(entries.all[other]), reason]
            for one, other, reason in entries.not_compared
        ],
    }


def as_lines(report: dict[str, Any]) -> list[list[str]]:
    """Returns the table of a report: a line of names, one for each source, one of sums."""
    reasons = [
        why.value for why in Why if any(why.value in s["dropped"] for s in report["sources"])
    ]
    lines = [["source", "rows", *reasons, "kept", "weight"]]
    for source in report["sources"]:
        counts = [source["rows"], *(source["dropped"].get(why, 0) for why in reasons)]
        lines.append([source["name"], *map(str, [*counts, source["kept"], source["weight"]])])
    sums = [
        report["rows"],
        *(sum(s["dropped"].get(why, 0) for s in report["sources"]) for why in reasons),
        report["kept"],
    ]
    return [*lines, ["all", *map(str, sums), ""]]


def as_csv(entries: Entries) -> str:
    """Returns each row that is not in the mix, with the reason and the row that stays for it."""
    names = [wanted.name for wanted, _ in entries.sources]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["source", "path", "member", "start", "end", "reason", "note", "for", "for_path"]
    )
    for one in entries.all:
        if one.why is not None:
            other = entries.all[one.of] if one.of >= 0 else None
            kept = [names[other.source], _name(other)] if other else ["", ""]
            place = [names[one.source], one.path, one.member, one.start, one.end]
            lines.writerow([*place, one.why.value, one.note, *kept])
    return text.getvalue()


def to_text(report: dict[str, Any]) -> str:
    """Returns the text of a report."""
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _pairs(entries: Entries, names: list[str]) -> list[dict[str, Any]]:
    """Returns for each pair of sources and reason how many rows went for the other's, and which."""
    found: dict[tuple[int, int, Why], list[Entry]] = {}
    for one in entries.all:
        if one.why is not None and one.of >= 0:
            key = one.source, entries.all[one.of].source, one.why
            found.setdefault(key, []).append(one)
    return [
        {
            "source": names[own],
            "for": names[other],
            "reason": why.value,
            "rows": len(rows),
            "examples": [[_name(one), _name(entries.all[one.of])] for one in rows[:_EXAMPLES]],
        }
        for (own, other, why), rows in found.items()
    ]


def _name(entry: Entry) -> str:
    return f"{entry.path}, member {entry.member}" if entry.member else entry.path

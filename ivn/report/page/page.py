"""Makes the page: one file that requests nothing and runs no script from a run's folder."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from . import curves, films, probes
from .content import Content, Missing, Run
from .html import Html, join, tag

_HERE = Path(__file__).parent
GENERATOR = "ivn report"
_FEW = 14  # rows of a table that is open from the start


def render(content: Content) -> str:
    """Returns the whole page of some runs as HTML."""
    names = ", ".join(run.name for run in content.runs)
    sections = [section for section in _sections(content) if section is not None]
    return document(
        f"ivn report: {names}",
        header("ivn report", names),
        bar([(anchor, title) for anchor, title, _ in sections]),
        tag("main", {}, *(_section(*section) for section in sections)),
        generator=GENERATOR,
        made_by=content.made_by,
    )


def document(title: str, *parts: Html, generator: str, made_by: str) -> str:
    """Returns a whole page with the report's style and script, as HTML.

    Args:
        title: title of the window.
        parts: header, bar and main part; the script needs :func:`bar`.
        generator: name of the command that makes the page.
        made_by: names and versions of the program and its packages.
    """
    script = Html((_HERE / "script.js").read_text("utf-8"))
    style = Html((_HERE / "style.css").read_text("utf-8"))
    head = tag(
        "head",
        {},
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(script)}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "generator", "content": generator}),
        tag("meta", {"name": "referrer", "content": "no-referrer"}),
        tag("title", {}, title),
        tag("style", {}, style),
    )
    made = tag("p", {}, f"Made by {made_by}. This file asks no host for anything.")
    footer = tag("footer", {}, made)
    body = tag("body", {}, *parts, footer, tag("script", {}, script))
    return f"<!doctype html>\n{tag('html', {'lang': 'en'}, head, body)}\n"


def is_ours(path: Path) -> bool:
    """Returns whether the file at ``path`` is a page that :func:`render` made."""
    mark = tag("meta", {"name": "generator", "content": GENERATOR})
    with path.open("rb") as file:
        return mark.encode() in file.read(4096)


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _sections(content: Content) -> list[tuple[str, str, Html] | None]:
    """Returns anchor, title and content of each section; None where there is nothing to show."""
    pictures = bool(content.masks or content.features or content.reconstructions)
    return [
        ("runs", "Runs", _runs(content)),
        ("curves", "Curves", curves.curves(content.runs)),
        ("time", "Time", curves.timing(content.runs)),
        ("masks", "Masks and attention", _masks(content)) if pictures else None,
        ("reconstruction", "Reconstruction", _reconstruction(content)) if pictures else None,
        ("features", "Features over time", _features(content)) if pictures else None,
        ("neighbours", "Nearest neighbours", _neighbours(content)) if content.gallery else None,
        ("probes", "Probes", _probes(content.runs)),
        ("config", "Config", _config(content)),
    ]


def _section(anchor: str, title: str, inside: Html) -> Html:
    name = f"{anchor}-title"
    head = tag("h2", {"id": name}, title)
    return tag("section", {"id": anchor, "aria-labelledby": name}, head, inside)


def header(kicker: str, title: str) -> Html:
    """Returns the head of a page: its title under a few words in small letters."""
    inside = tag("div", {}, tag("p", {"class": "kicker"}, kicker), tag("h1", {}, title))
    return tag("header", {}, inside)


def bar(sections: Sequence[tuple[str, str]]) -> Html:
    """Returns the bar of links to sections, by (anchor, title), and of controls of all films."""
    links = [tag("a", {"href": f"#{anchor}"}, title) for anchor, title in sections]
    slider = {"type": "range", "id": "when", "min": 0, "max": 31, "value": 0}
    tools = [
        tag("input", {**slider, "aria-label": "place in all films"}),
        tag("button", {"type": "button", "id": "play"}, "Pause"),
        tag("button", {"type": "button", "id": "theme"}, "Dark"),
    ]
    nav = tag("nav", {"aria-label": "sections"}, *links)
    return tag(
        "div", {"class": "bar-top"}, tag("div", {}, nav, tag("div", {"class": "tools"}, *tools))
    )


def _runs(content: Content) -> Html:
    cards = [_run(number, run) for number, run in enumerate(content.runs)]
    inside = [tag("div", {"class": "cards"}, *cards)]
    if content.missing:
        inside.append(_missing(content.missing))
    return join(inside)


def _run(number: int, run: Run) -> Html:
    head = tag(
        "h3",
        {},
        tag("span", {"class": f"key c{number % 8}"}, ""),
        tag("span", {}, run.name),
        tag("span", {"class": "badge"}, run.stage or "config unreadable"),
    )
    means = run.log.losses() if run.log else {}
    losses = [(name, f"{first:.3g} \u2192 {last:.3g}") for name, (first, last) in means.items()]
    facts = [*run.facts, *losses]
    listed = join(join([tag("dt", {}, name), tag("dd", {}, value)]) for name, value in facts)
    parts = [head, tag("dl", {"class": "facts"}, listed)]
    if run.log is not None:
        parts += [_notes(run)]
    if run.missing:
        parts.append(_missing(run.missing))
    return tag("article", {"class": "card"}, *parts)


def _notes(run: Run) -> Html:
    """Returns the log's warnings and the unusable files that were replaced."""
    assert run.log is not None
    parts = []
    if run.log.warnings:
        items = [tag("li", {}, f"step {step}: {said}") for step, said in run.log.warnings[:20]]
        title = tag("summary", {}, f"{len(run.log.warnings)} warnings")
        parts.append(tag("details", {"open": ""}, title, tag("ul", {}, *items)))
    if run.log.replaced:
        files = list(run.log.replaced.items())
        items = [
            tag("li", {}, f"{path}: {reason} ({times} times)")
            for (path, reason), times in files[:50]
        ]
        title = tag("summary", {}, f"{len(files)} unusable files were replaced")
        parts.append(tag("details", {}, title, tag("ul", {}, *items)))
    return join(parts)


def _missing(missing: Sequence[Missing]) -> Html:
    items = [tag("li", {}, tag("b", {}, one.what), f": {one.why}") for one in missing]
    title = tag("h4", {}, "Not on this page")
    return tag("div", {"class": "missing"}, title, tag("ul", {}, *items))


def _masks(content: Content) -> Html:
    said = (
        "The clip, what each run's own mask rule leaves of it, and where the image teacher looks "
        "(from the least of the clip, dark, to the most, bright)."
    )
    return _pictures(said, films.strips(content.masks), "No mask could be drawn, see above.")


def _reconstruction(content: Content) -> Html:
    said = (
        "One frame, its masked patches drawn by the decoder: from pure noise in few and in many "
        "sampling steps, and in a single step out of a little, more and much noise (of 1000 "
        "steps). Decibels are those of the drawn patches against the original; visible patches are "
        "the original's."
    )
    none = "No run here has a trained decoder of pixels."
    return _pictures(said, films.strips(content.reconstructions), none)


def _features(content: Content) -> Html:
    said = (
        "The three main components of each clip's features as red, green and blue, one square a "
        "token, moving with the clip. Colours are chosen clip by clip and encoder by encoder: "
        "compare what belongs together, not the hues."
    )
    return _pictures(said, films.strips(content.features), "No features, see above.")


def _neighbours(content: Content) -> Html:
    assert content.gallery is not None
    said = (
        f"Among {len(content.gallery.names)} clips, those nearest to each by the cosine of their "
        "mean features (less the mean of all clips)."
    )
    return _pictures(said, films.gallery(content.gallery), "")


def _pictures(said: str, inside: Html, none: str) -> Html:
    if not inside:
        return tag("p", {"class": "empty"}, none)
    return join([tag("p", {"class": "lead"}, said), inside])


def _probes(runs: Sequence[Run]) -> Html:
    found = [
        probes.probe(run.name, name, result) for run in runs for name, result in run.probes.items()
    ]
    without = [run.name for run in runs if not run.probes]
    if without:
        has = f"{', '.join(without)} {'has' if len(without) == 1 else 'have'}"
        said = f"{has} no probe yet: ivn evaluate TASK --encoder RUN measures a frozen encoder."
        found.append(tag("p", {"class": "empty"}, said))
    return tag("div", {"class": "stack"}, *found)


def _config(content: Content) -> Html:
    parts = []
    if content.between:
        parts.append(tag("h3", {"class": "group"}, "Where the runs differ"))
        heads = ["setting", *(run.name for run in content.runs)]
        table = _table(heads, [[key, *values] for key, values in content.between])
        if len(content.between) > _FEW:
            summary = tag("summary", {}, f"{len(content.between)} settings")
            table = tag("details", {}, summary, table)
        parts.append(table)
    for run in content.runs:
        title = f"{run.name} and its preset {run.preset}" if run.preset else run.name
        parts.append(tag("h3", {"class": "group"}, title))
        if run.changes:
            parts.append(_table(["setting", "here", run.preset], run.changes))
        elif run.preset:
            parts.append(tag("p", {"class": "empty"}, "No difference."))
        else:
            said = "There is no preset of its name to compare with."
            parts.append(tag("p", {"class": "empty"}, said))
        if run.config:
            summary = tag("summary", {}, "The whole config")
            whole = tag("pre", {"tabindex": "0"}, run.config)
            parts.append(tag("details", {}, summary, whole))
    return join(parts)


def _setting(value: str) -> Html:
    if value == "absent":
        return tag("td", {"class": "absent"}, "absent")
    return tag("td", {}, tag("code", {}, value))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    body = [tag("tr", {}, *(_setting(cell) for cell in row)) for row in rows]
    head = tag("tr", {}, *(tag("th", {}, name) for name in heads))
    table = tag("table", {"class": "wide"}, tag("thead", {}, head), tag("tbody", {}, *body))
    return curves.scrolling(table, "settings")

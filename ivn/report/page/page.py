"""Makes the page: one file that requests nothing and runs no script from a run's folder."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from . import curves, films, probes
from .content import Content, Missing, Run, Strip
from .elements import colour_key, count, details, faint, lead, table
from .html import Html, join, tag

_HERE = Path(__file__).parent
GENERATOR = "ivn report"
_FEW = 14  # rows of a table that is open from the start
_MASKS = (
    "The clip, what each run's own mask rule leaves of it, and where the image teacher looks "
    "(from the least of the clip, dark, to the most, bright)."
)
_DRAWN = (
    "One frame, its masked patches drawn by the decoder: from pure noise in few and in many "
    "sampling steps, and in a single step out of a little, more and much noise (of 1000 steps). "
    "Decibels are those of the drawn patches against the original; visible patches are the "
    "original's."
)
_FEATURES = (
    "The three main components of each clip's features as red, green and blue, one square a "
    "token, moving with the clip. Colours are chosen clip by clip and encoder by encoder: "
    "compare what belongs together, not the hues."
)


def render(content: Content) -> str:
    """Returns the whole page of some runs as HTML."""
    names = ", ".join(run.name for run in content.runs)
    sections = list(_sections(content))
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


def _sections(content: Content) -> Iterator[tuple[str, str, Html]]:
    """Yields anchor, title and content of each section that has something to show."""
    yield "runs", "Runs", _runs(content)
    yield "curves", "Curves", curves.curves(content.runs)
    yield "time", "Time", curves.timing(content.runs)
    drawn = content.pictures
    if drawn.masks or drawn.features or drawn.reconstructions:
        none = "No mask could be drawn, see above."
        yield "masks", "Masks and attention", _strips(_MASKS, drawn.masks, none)
        none = "No run here has a trained decoder of pixels."
        yield "reconstruction", "Reconstruction", _strips(_DRAWN, drawn.reconstructions, none)
        none = "No features, see above."
        yield "features", "Features over time", _strips(_FEATURES, drawn.features, none)
    if drawn.gallery is not None:
        said = (
            f"Among {len(drawn.gallery.names)} clips, those nearest to each by the cosine of their "
            "mean features (less the mean of all clips)."
        )
        near = join([lead(said), films.gallery(drawn.gallery)])
        yield "neighbours", "Nearest neighbours", near
    yield "evaluation", "Evaluation", _evaluation(content.runs)
    yield "config", "Config", _config(content)


def _strips(said: str, found: Sequence[Strip], none: str) -> Html:
    return join([lead(said), films.strips(found)]) if found else faint(none)


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
        colour_key(number),
        tag("span", {}, run.name),
        tag("span", {"class": "badge"}, run.stage or "config not readable"),
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
        title = count(len(run.log.warnings), "warning")
        parts.append(details(title, tag("ul", {}, *items), opened=True))
    if run.log.replaced:
        files = list(run.log.replaced.items())
        items = [
            tag("li", {}, f"{path}: {reason} ({count(times, 'time')})")
            for (path, reason), times in files[:50]
        ]
        title = f"{count(len(files), 'unusable file')} replaced"
        parts.append(details(title, tag("ul", {}, *items)))
    return join(parts)


def _missing(missing: Sequence[Missing]) -> Html:
    items = [tag("li", {}, tag("b", {}, one.what), f": {one.why}") for one in missing]
    title = tag("h4", {}, "Not on this page")
    return tag("div", {"class": "missing"}, title, tag("ul", {}, *items))


def _evaluation(runs: Sequence[Run]) -> Html:
    found = [
        probes.probe(run.name, name, result) for run in runs for name, result in run.probes.items()
    ]
    without = [run.name for run in runs if not run.probes]
    if without:
        of = ", ".join(without)
        found.append(faint(f"No results of {of} yet: ivn evaluate TASK --encoder RUN makes some."))
    return tag("div", {"class": "stack"}, *found)


def _config(content: Content) -> Html:
    parts = []
    if content.between:
        parts.append(tag("h3", {"class": "group"}, "Where the runs differ"))
        heads = ["setting", *(run.name for run in content.runs)]
        differing = _settings(heads, [[key, *values] for key, values in content.between])
        if len(content.between) > _FEW:
            differing = details(f"{len(content.between)} settings", differing)
        parts.append(differing)
    for run in content.runs:
        title = f"{run.name} and its preset {run.preset}" if run.preset else run.name
        parts.append(tag("h3", {"class": "group"}, title))
        if run.changes:
            parts.append(_settings(["setting", "here", run.preset], run.changes))
        elif run.preset:
            parts.append(faint("No difference."))
        else:
            parts.append(faint("There is no preset of its name to compare with."))
        if run.config:
            whole = tag("pre", {"tabindex": "0"}, run.config)
            parts.append(details("The whole config", whole))
    return join(parts)


def _settings(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    absent = tag("span", {"class": "absent"}, "absent")
    marked = [[absent if cell == "absent" else tag("code", {}, cell) for cell in r] for r in rows]
    return table("settings", heads, marked)

"""Makes the sections of pictures: strips of films, and clips with their nearest ones."""

from collections.abc import Sequence

from ivn.report.draw.images import coarse, image_uri, strip_uri

from .content import Film, Gallery, Strip
from .html import Html, join, tag


def strips(found: Sequence[Strip]) -> Html:
    """Returns strips below one another, each with the films of one clip side by side."""
    return join(
        tag(
            "div",
            {"class": "strip"},
            tag("h3", {}, strip.title),
            tag("div", {"class": "films"}, *(_film(strip.title, film) for film in strip.films)),
        )
        for strip in found
    )


def _film(title: str, film: Film) -> Html:
    uri, frames = strip_uri(film.pixels)
    count = f", {frames} frames over time" if frames > 1 else ""
    note = f", {film.note}" if film.note else ""
    tokens = coarse(film.pixels)
    _, h, w, _ = film.pixels.shape
    image = {
        "src": uri,
        "alt": f"{title}: {film.label}{note}{count}",
        "class": "coarse" if tokens else None,
        "width": frames * w,
        "height": h,
    }
    box = {"class": "box", "style": f"--n:{frames}"}
    return tag(
        "figure",
        {"class": "film", "data-frames": frames if frames > 1 else None},
        tag("div", box, tag("img", image)),
        tag("figcaption", {}, film.label, tag("small", {}, film.note) if film.note else ""),
    )


def gallery(found: Gallery) -> Html:
    """Returns each query with its nearest clips by every encoder."""
    uris = [image_uri(thumb) for thumb in found.thumbs]
    queries = list(found.neighbours[0].nearest) if found.neighbours else []
    cards = []
    for query in queries:
        rows = []
        for one in found.neighbours:
            rows.append(tag("span", {}, one.encoder))
            for clip, cosine in one.nearest[query]:
                image = _thumb(uris[clip], found.names[clip])
                caption = tag("figcaption", {}, f"{cosine:.2f}")
                rows.append(tag("figure", {"title": found.names[clip]}, image, caption))
        head = tag(
            "div",
            {"class": "query"},
            _thumb(uris[query], found.names[query]),
            tag("h3", {}, found.names[query]),
        )
        cards.append(tag("div", {"class": "card"}, head, tag("div", {"class": "near"}, *rows)))
    return tag("div", {"class": "queries"}, *cards)


def _thumb(uri: str, name: str) -> Html:
    return tag("img", {"class": "thumb", "src": uri, "alt": name})

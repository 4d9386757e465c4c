"""Annotation files with damage: rows, or one line; never another error."""

import json
import math
import random

import pytest

from ivn.corpus.importers import IMPORTERS, Videos
from ivn.corpus.importers.auto import recognised
from ivn.errors import DataError
from tests.corpus.importers.published import CASES

WORDS = [
    *("null", "true", "-1", "1e999", "NaN", "[]", "{}", '""', "[[]]", '{"a": []}', "\0", "\u2028"),
    *(",", ";", '"', "##", "\n", " ", "/", "../../x", "c999", "9" * 40, "é", "\ud7ff"),
]


def damaged(text, generator):
    """``text`` with some of it cut out, doubled or replaced."""
    for _ in range(generator.randint(1, 3)):
        start = generator.randrange(len(text) + 1)
        end = min(len(text), start + generator.choice([0, 1, 1, 2, 5, 30]))
        new = generator.choice([*WORDS, text[start:end] * 2, "", chr(generator.randrange(1, 300))])
        text = text[:start] + new + text[end:]
    return text


def with_another_value(found, generator):
    """A JSON value in which one of its values, at whatever depth, is of another kind."""
    inside = list(found.items()) if isinstance(found, dict) else []
    inside = list(enumerate(found)) if isinstance(found, list) else inside
    if not inside or generator.random() < 0.2:
        return generator.choice([None, True, -1, 3, 1e300, "", "x", [], ["x"], {}, {"x": 1}, [[]]])
    key, value = generator.choice(inside)
    copy = dict(inside) if isinstance(found, dict) else list(found)
    copy[key] = with_another_value(value, generator)
    return copy


def changed(file, text, generator):
    if file.endswith(".json") and generator.random() < 0.7:
        return json.dumps(with_another_value(json.loads(text), generator))
    return damaged(text, generator)


def check_rows(rows):
    for row in [] if isinstance(rows, str) else rows:
        texts = [row.path, row.group, row.source, *row.captions, *row.extra.values()]
        assert all(isinstance(text, str) for text in [*texts, *row.labels, *row.labels.values()])
        assert row.start >= 0 and (row.end == -1 or row.start < row.end < math.inf)


@pytest.mark.parametrize("name", IMPORTERS)
def test_damage_gives_rows_or_one_line(tmp_path, name):
    generator = random.Random(name)
    files, named, _ = CASES[name]
    for video in named:
        (tmp_path / "videos" / video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / video).touch()
    for _ in range(40):
        paths, videos = [], Videos(tmp_path / "videos")
        for file, text in files.items():
            paths.append(tmp_path / file)
            paths[-1].write_text(changed(file, text, generator), encoding="utf-8")
        for read in (IMPORTERS[name].read, recognised):
            try:
                check_rows(read(paths, videos) if read is not recognised else recognised(paths))
            except DataError as error:
                assert "\n" not in str(error) and str(tmp_path) in str(error)
                assert len(str(error)) < 1000

import json
import tomllib
from dataclasses import dataclass
from typing import Literal

import pytest

from ivn import toml
from ivn.config import help
from ivn.config.presets import PRESETS
from ivn.config.run import Config, from_toml, help_page, help_text, override, to_dict

from .settings_page import PAGE, page

TABLES = list(help.tables(Config))
FIELDS = [field for table in TABLES for field in table.fields]


def teacher(key):
    return f"{key}.kind=siglip", f"{key}.taps=[1]"


# Between them every kind of every table.
CONFIGS = [
    override(PRESETS[name](), *changes)
    for name, changes in [
        ("stage1-tiny", []),
        ("stage1-tiny", ["model.decoder.kind=pixel"]),
        ("stage2-tiny-official", []),
        ("stage1-tiny", ["model.predictor.kind=vit", *teacher("stage.second_teacher")]),
        ("stage2-tiny", ["stage.target.kind=momentum", "stage.pixel_decoder.kind=pixel"]),
        ("stage2-tiny", [*teacher("stage.target"), *teacher("stage.teacher")]),
    ]
]


def leaves(value, path=()):
    """Every plain value of a nested config with its path, lists of tables entered."""
    tables = isinstance(value, list) and value and isinstance(value[0], dict)
    if isinstance(value, dict) or tables:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, str(key)))
    else:
        yield ".".join(path), value


def test_every_leaf_of_the_config_has_a_line_with_words():
    described = {field.key for field in FIELDS if field.text.strip(" .")}
    for config in CONFIGS:
        # The first of several tables in a list stands for all of them.
        keys = {
            key.replace("stage.views.1.", "stage.views.0.") for key, _ in leaves(to_dict(config))
        }
        assert keys <= described
    assert {field.key for field in FIELDS} == described


@pytest.mark.parametrize("key", sorted({field.key for field in FIELDS}))
def test_every_key_shown_is_one_that_set_takes(key):
    taken = 0
    for config in CONFIGS:
        values = dict(leaves(to_dict(config)))
        views = to_dict(config)["stage"].get("views", [])
        # A list of tables can be given whole, too.
        values["stage.views"] = [{"count": 3, "scale": 0.2}] if views else None
        if values.get(key) is not None:
            changed = override(config, f"{key}={toml_text(values[key])}")
            assert changed == config or key == "stage.views"
            taken += 1
    assert taken


def toml_text(value):
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[{count = 3, scale = 0.2}]"
    return json.dumps(value)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title.partition(":")[0])
def test_no_two_lines_of_a_table_say_the_same(table):
    texts = [field.text for field in table.fields]
    assert sorted(texts) == sorted(set(texts))


@pytest.mark.parametrize("width", [80, 90, 100])
def test_lines_fit_the_terminal(width):
    text = help_text(width)
    assert max(map(len, text.splitlines())) <= width
    for field in FIELDS:
        assert f"  {field.key} " in text


@dataclass(frozen=True)
class Round:
    """A disc.

    Attributes:
        kind: not shown.
        radius: in metres. Not in feet.
    """

    kind: Literal["round"] = "round"
    radius: float = 1.0


@dataclass(frozen=True)
class Square:
    """A square; it has
    four sides.

    More of it.
    """

    kind: Literal["square"] = "square"
    side: float = 1.0


@dataclass(frozen=True)
class Plate:
    """What lies on a table.

    Attributes:
        width, height: both at
            ``once``.
        glaze: how it is done.
        finish: "matt" or "gloss".
        shape: of its rim.
        spots: on it.
    """

    width: int
    height: int
    shape: Round | Square
    glaze: Literal["dip", "pour"] = "dip"
    finish: Literal["matt", "gloss"] = "matt"
    spots: tuple[Round, ...] = ()
    colour: str = ""


def test_entries_are_read_with_their_continuations_choices_and_kinds():
    titles = [table.title for table in help.tables(Plate)]
    assert titles == [
        "the config: What lies on a table",
        "shape: one of several kinds",
        "shape, kind round: A disc",
        "shape, kind square: A square; it has four sides",
        "spots.0: A disc",
    ]
    found = [(one.key, one.kind, one.text) for table in help.tables(Plate) for one in table.fields]
    assert found == [
        ("width", "int", "both at `once`"),
        ("height", "int", "both at `once`"),
        ("glaze", "choice", "how it is done (dip | pour)"),
        ("finish", "choice", '"matt" or "gloss"'),
        ("spots", "list", "on it"),
        ("colour", "str", ""),
        (
            "shape.kind",
            "choice",
            "of its rim: round | square; another kind brings all its own defaults",
        ),
        ("shape.radius", "float", "in metres"),
        ("shape.side", "float", ""),
        ("spots.0.radius", "float", "in metres"),
    ]


def test_differences_name_each_field_and_what_is_absent():
    one = Plate(1, 2, Round(radius=0.5), spots=(Round(), Round()))
    other = Plate(1, 3, Square(), spots=(Round(radius=2.0),))
    assert toml.differences(one, other) == [
        ("height", "2", "3"),
        ("shape.kind", '"round"', '"square"'),
        ("shape.radius", "0.5", "absent"),
        ("spots.0.radius", "1.0", "2.0"),
        ("spots.1.kind", '"round"', "absent"),
        ("spots.1.radius", "1.0", "absent"),
        ("shape.side", "absent", "1.0"),
    ]
    assert toml.differences(one, one) == []


def test_sentences_after_the_first_are_kept_apart_and_defaults_are_toml():
    fields = {field.key: field for table in help.tables(Plate) for field in table.fields}
    assert fields["shape.radius"].more == "Not in feet."
    assert fields["width"].default == ""
    assert (fields["glaze"].default, fields["spots"].default) == ('"dip"', "[]")
    assert (fields["shape.side"].default, fields["spots.0.radius"].default) == ("1.0", "1.0")


def test_defaults_are_those_of_the_table_that_a_field_is_in():
    """Blocks has no default count, but both stages have default blocks."""
    found = {(table.name, field.key): field.default for table in TABLES for field in table.fields}
    assert found["stage.blocks", "stage.blocks.count"] == "8"
    assert found["stage.target", "stage.target.kind"] == '"start"'
    assert found["model.predictor", "model.predictor.kind"] == '"modernbert"'
    assert found["model.encoder", "model.encoder.width"] == ""
    assert found["stage, kind stage2", "stage.views"] == (
        "[{count = 8, scale = 0.15}, {count = 2, scale = 0.7}]"
    )


@dataclass(frozen=True)
class Bowl:
    """A bowl."""

    shape: Round | Square = Round(radius=2.0)


def test_a_kind_that_is_not_the_default_has_the_defaults_of_its_class():
    fields = [field for table in help.tables(Bowl) for field in table.fields]
    found = [(field.key, field.default) for field in fields]
    assert found == [("shape.kind", '"round"'), ("shape.radius", "2.0"), ("shape.side", "1.0")]


def test_every_default_shown_is_a_value_that_the_field_takes():
    for field in FIELDS:
        if field.default:
            tomllib.loads(f"value = {field.default}")
    # A config of nothing but what has to be given has these defaults.
    least = from_toml("name = 'x'\ndata = {}\noptim = {}\nstage = {kind = 'stage2'}\n" + LEAST)
    shown = {field.key: field.default for field in FIELDS if field.default}
    for key, value in leaves(to_dict(least)):
        if not key.startswith("stage.") and key in shown:
            assert tomllib.loads(f"value = {shown[key]}")["value"] == value, key


LEAST = """
[model]
encoder = {width = 48, depth = 2, heads = 3, hidden = 64}
predictor = {kind = "modernbert"}
decoder = {kind = "latent"}
"""


def test_the_page_has_a_row_for_each_field_and_is_the_document():
    text = help_page()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [field.key for field in FIELDS]
    for field, row in zip(FIELDS, rows, strict=True):
        assert field.more.replace("|", "\\|") in row
        assert f"| `{field.default}` |" in row if field.default else "must be given" in row
    assert PAGE.read_text() == page(), "run python -m tests.config.settings_page"

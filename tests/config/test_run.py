import dataclasses
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import getitem
from typing import ClassVar, Literal

import pytest

from ivn import toml
from ivn.config import help
from ivn.config.presets import PRESETS
from ivn.config.run import Config, from_toml, override, read, to_dict, to_toml
from ivn.errors import ConfigError


@dataclass(frozen=True)
class Box:
    kind: Literal["box"] = "box"
    side: float = 1.0


@dataclass(frozen=True)
class Ball:
    kind: Literal["ball"] = "ball"
    radius: float = 0.5
    colours: tuple[str, ...] = ("red",)


@dataclass(frozen=True)
class Scene:
    name: str
    first: Box | Ball
    count: int = 1
    lit: bool = False
    size: tuple[int, float] = (4, 1.5)
    more: tuple[Box | Ball, ...] = ()
    mode: Literal["fast", "slow"] = "fast"

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count is {self.count}, expected at least 0")


SCENE = Scene(
    'a "name"\nof two lines',
    Ball(radius=0.1 + 0.2, colours=()),
    count=2**62,
    lit=True,
    more=(Box(side=1e308), Ball(radius=5e-324), Box(side=1e300)),
)


def test_a_config_comes_back_exactly():
    assert toml.loads(toml.dumps(SCENE), Scene) == SCENE


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_exactly(name):
    config = PRESETS[name]()
    text = to_toml(config)
    assert from_toml(text) == config
    assert to_toml(from_toml(text)) == text
    assert config.name == name


def test_a_saved_config_has_every_field():
    table = tomllib.loads(to_toml(PRESETS["stage1-tiny"]()))
    for group in ("data", "run", "efficiency", "optim", "stage", "model"):
        value = getattr(PRESETS["stage1-tiny"](), group)
        assert table[group].keys() == {field.name for field in dataclasses.fields(value)}


def test_fields_left_out_take_their_defaults():
    assert toml.loads('name = "x"\nfirst.kind = "box"', Scene) == Scene("x", Box())


def test_an_integer_may_stand_for_a_float():
    scene = toml.loads('name = "x"\nfirst = {kind = "box", side = 2}', Scene)
    assert type(scene.first.side) is float


# Files and settings that do not fit, and words of the line that says so; "$" is its end.
REFUSED_TEXTS = [
    ("name = 3", "name is 3, expected str"),
    ('name = "x"', "first is missing and has no default"),
    ('nam = "x"', "nam: unknown key; did you mean name?"),
    ('{name = "x"', "not TOML"),
    ("first.kind = 'bal'", "first.kind is 'bal', expected 'box' or 'ball'; did you mean ball?"),
    ("first = 3", "first is 3, expected a table with kind 'box' or 'ball'"),
    ("[[first]]\nkind = 'box'", "first is [{'kind': 'box'}], expected a table"),
    ("first.kind = ['box']", "first.kind is ['box'], expected 'box' or 'ball'"),
    (
        "first = {kind = 'ball', radios = 1}",
        "first.radios: unknown key; did you mean first.radius?",
    ),
    ("first = {kind = 'box', side = 'x'}", "first.side is 'x', expected float"),
    ("first = {kind = 'box', side = true}", "first.side is True, expected float"),
    ("first = {kind = 'ball', colours = 'red'}", "first.colours is 'red', expected a list"),
    ("first = {kind = 'ball', colours = ['red', 3]}", "first.colours.1 is 3, expected str"),
    ("count = 1.0", "count is 1.0, expected int"),
    ("count = true", "count is True, expected int"),
    ("lit = 1", "lit is 1, expected bool"),
    ("size = [1]", "size is [1], expected 2 values"),
    ("mode = 'fats'", "mode is 'fats', expected 'fast' or 'slow'; did you mean fast?"),
    ("name = 'x'\nfirst.kind = 'box'\ncount = -1", "count is -1, expected at least 0"),
    ("name = 'x'\nfirst.kind = 'box'\nmore = [{kind = 'cube'}]", "more.0.kind is 'cube'"),
]
REFUSED_CHANGES = [
    ("count", "expected key=value"),
    ("=3", "expected key=value"),
    ("first.=3", "expected key=value"),
    ("cuont=3", "cuont: unknown key; did you mean count?"),
    ("first.radios=3", "first.radios: unknown key; did you mean first.radius?"),
    ("fist.radius=3", "fist: unknown key; did you mean first?"),
    ("count.more=3", "count.more: unknown key"),
    ("more.7.radius=3", "more.7: unknown key"),
    ("count=many", "count is 'many', expected int"),
    ("count=", "count is '', expected int"),
    ("count=-3", "count is -3, expected at least 0"),
    ("first.kind=cone", "first.kind is 'cone', expected 'box' or 'ball'"),
]
REFUSED_SETTINGS = [
    ("lr=1e-3", "lr: unknown key; did you mean optim.lr?"),
    ("seed=1", "did you mean data.seed?"),
    ("batch_size=4", "did you mean optim.batch_size?"),
    ("train.epochs=4", "did you mean optim.epochs?"),
    ("encoder.width=96", "encoder: unknown key; did you mean model.encoder.width?"),
    (
        "width=96",
        "did you mean model.encoder.width, model.predictor.width or model.decoder.width?",
    ),
    ("optm.lr=1", "did you mean optim?"),
    ("data.lr=1", "did you mean optim.lr?"),
    ("optim.learning_rate=1", "optim.learning_rate: unknown key; did you mean optim.lr?"),
    ("optim.wd=1", "did you mean optim.weight_decay?"),
    ("batchsize=4", "did you mean optim.batch_size?"),
    ("warmup=1", "did you mean optim.warmup_epochs?"),
    ("efficiency.num_workers=2", "did you mean efficiency.workers?"),
    ("num_workers=2", "did you mean efficiency.workers?"),
    ("run.wandb=true", "run has log_every, "),
    ("run.tensorboard=True", "expected bool; did you mean true?"),
    ("run.tensorboard=0", "expected bool; did you mean false?"),
    ("optim.batch_size=8.0", "expected int; did you mean 8?"),
    ("optim.batch_size=8.5", "is 8.5, expected int$"),
    ("optim.steps=1e3", "expected int; did you mean 1000?"),
    ('optim.lr="1e-3"', "expected float; did you mean 1e-3?"),
    ("optim.lr=None", "expected float$"),
    ("optim.betas=0.9,0.95", "expected a list in brackets, such as [0.9, 0.95]"),
    ("optim.betas=(0.9, 0.95)", "such as [0.9, 0.95]"),
    ("optim.betas=0.9", "expected a list of 2 in brackets, such as [0.5, 0.5]"),
    ("stage.teacher.taps=12", "expected a list in brackets, such as [12]"),
    ("0.95]", "a value with spaces stands in quotes: 'optim.betas=[0.9, 0.95]'"),
    ("efficiency.device=gpu", "expected 'auto' or 'cpu' or 'cuda'; did you mean cuda?"),
    ("stage.mask=TUBE", "did you mean tube?"),
    ("stage.teacher.kind=SigLIP", "did you mean siglip?"),
    ("model.dtype=fp16", "expected 'float32' or 'bfloat16'; did you mean bfloat16?"),
    ("model.encoder.heads=0", "model.encoder.heads is 0, expected at least 1"),
    ("model.encoder.image_width=-1", "model.encoder.image_width is -1, expected at least 1"),
    ("model.predictor.layers=0", "model.predictor.layers is 0, expected at least 1"),
    ("model.predictor.local_theta=-1", "model.predictor.local_theta is -1.0, expected above 0"),
    ("model.decoder.width=0", "model.decoder.width is 0, expected at least 1"),
    ("data.rand_augment=-1", "data.rand_augment is -1, expected at least 0"),
    ("data.rand_magnitude=31", "data.rand_magnitude is 31, expected 0 to 30"),
    ("efficiency.workers=-1", "efficiency.workers is -1, expected at least 0"),
    ("efficiency.accumulation=0", "efficiency.accumulation is 0, expected at least 1"),
    ("optim.eps=0", "optim.eps is 0.0, expected above 0"),
    ("optim.clip_norm=-1", "optim.clip_norm is -1.0, expected at least 0"),
    ("stage.teacher.taps=[]", "stage.teacher.taps is empty, expected the blocks to align with"),
    ("data.decode_seconds=nan", "data.decode_seconds is nan, expected a finite number"),
    ("optim.lr=2020-01-01", "optim.lr is datetime.date(2020, 1, 1), expected float$"),
    ("stage.layers_weight=-1", "stage.layers_weight is -1.0, expected at least 0"),
    ("stage.blocks.count=-3", "stage.blocks.count is -3, expected at least 1"),
    ("stage.blocks.scale=7", "stage.blocks.scale is 7.0, expected above 0 and up to 1"),
    ("stage.blocks.max_keep=0", "stage.blocks.max_keep is 0.0, expected above 0 and up to 1"),
    ("stage.blocks.min_aspect=2", "stage.blocks.min_aspect 2.0, max_aspect 1.5: expected 0 < "),
]

REFUSED_FILES = [
    ("lr = 1e-3", "lr: unknown key; did you mean optim.lr?"),
    ("[optim]\nlearning_rate = 1e-3", "did you mean optim.lr?"),
    ("[efficiency]\nnum_workers = 2", "did you mean efficiency.workers?"),
    ("[optim]\nseed = 2", "optim.seed: unknown key; did you mean data.seed?"),
    ("[encoder]\nwidth = 2", "encoder: unknown key; did you mean model.encoder?"),
    ("[teacher]\ntaps = [2]", "teacher: unknown key; did you mean stage.teacher?"),
    (
        "[stage]\nkind = 'stage2'\nalign_pooled = true",
        "stage.align_pooled: unknown key; another kind of stage has it, this one has kind, ",
    ),
    ("[optim]\nlr = None", "lr = None; TOML has no word for nothing: leave the line out"),
    ("[run]\ntensorboard = True", "tensorboard = True; did you mean tensorboard = true?"),
    ("[optim]\nbetas = 0.9, 0.95", "a list is written betas = [0.9, 0.95]"),
    ("[optim]\nbetas = (0.9, 0.95)", "a list is written betas = [0.9, 0.95]"),
    ("[stage]\nmask = tube", 'a word is written mask = "tube"'),
    ("[optim]\nbatch_size = 8.0", "optim.batch_size is 8.0, expected int; did you mean 8?"),
    ("[optim]\nbetas = 0.9", "expected a list of 2 in brackets"),
    ("max_keep = 0.2", "did you mean stage.blocks.max_keep or stage.views.0.max_keep?"),
]
REFUSED = {
    "text": (REFUSED_TEXTS, lambda text: toml.loads(text, Scene)),
    "change": (REFUSED_CHANGES, lambda change: toml.override(SCENE, change)),
    "setting": (REFUSED_SETTINGS, lambda setting: override(PRESETS["stage1-tiny"](), setting)),
    "file": (REFUSED_FILES, from_toml),
}


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [(kind, *case) for kind, (cases, _) in REFUSED.items() for case in cases],
)
def test_what_does_not_fit_is_told_in_a_line_with_what_was_meant(kind, given, words):
    with pytest.raises(ConfigError) as caught:
        REFUSED[kind][1](given)
    said = str(caught.value)
    assert words in f"{said}$" and "\n" not in said and "Config(" not in said


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("count=3", "count", 3),
        ("lit=false", "lit", False),
        ("name=a b = c", "name", "a b = c"),
        ("name=12", "name", "12"),
        ('name="12"', "name", "12"),
        ("mode=slow", "mode", "slow"),
        ("size=[3, 1e-3]", "size", (3, 1e-3)),
        ("first.radius=1e-3", "first", Ball(radius=1e-3, colours=())),
        ("first.colours=['a', 'b']", "first", Ball(radius=0.1 + 0.2, colours=("a", "b"))),
        ("first.kind=box", "first", Box()),
        ("first={kind = 'box', side = 3}", "first", Box(side=3.0)),
        ("more.1.radius=2", "more", (Box(side=1e308), Ball(radius=2.0), Box(side=1e300))),
    ],
)
def test_one_field_is_replaced_and_nothing_else(assignment, field, value):
    changed = toml.override(SCENE, assignment)
    assert changed == dataclasses.replace(SCENE, **{field: value})


WRONG = [
    *(0, -1, 3, 2.5, 8.0, 1e400, float("nan"), 10**30, "x", "1e-3", "true", "", True, False),
    *([], [1], [0.5, 0.5], ["a"], [[1]], [{}], {}, {"a": 1}, {"kind": "x"}, date(2020, 1, 1)),
]


def paths(value, path=()):
    """Yields the path of everything inside nested dicts and lists."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from paths(item, (*path, key))


@pytest.mark.parametrize("name", ["stage1-base", "stage2-tiny-official"])
def test_whatever_stands_in_place_of_a_value_is_told_by_its_key_in_a_line(name):
    told = 0
    table = to_dict(PRESETS[name]())
    for path in list(paths(table)):
        key = ".".join(map(str, path))
        group = reduce(getitem, path[:-1], table)
        right = group[path[-1]]
        for wrong in WRONG:
            group[path[-1]] = wrong
            try:
                toml.decode(table, Config)
            except ConfigError as error:
                said = str(error)
                # The key, one inside it, or a setting of the same table that the value contradicts.
                place = f"{path[0]}[.: ]" if len(path) > 1 else f"{key}[. ]"
                assert re.match(place, said) and len(said) < 400, (key, wrong, said)
                assert "\n" not in said and "Config(" not in said and "Error" not in said
                told += 1
        group[path[-1]] = right
    assert told > 1000


def test_a_predictor_saved_before_there_were_kinds_is_read():
    config = PRESETS["stage1-base"]()
    lines = to_toml(config).splitlines()
    lines.remove('kind = "modernbert"')
    assert from_toml("\n".join(lines)) == config


class Family:
    """Stands for a union that grows."""

    known: ClassVar = [Box]

    @classmethod
    def members(cls):
        return tuple(cls.known)


@dataclass(frozen=True)
class Shelf:
    thing: Family
    more: tuple[Family, ...] = ()


def test_a_family_of_dataclasses_is_read_as_the_union_of_its_members(monkeypatch):
    text = "thing = {kind = 'ball', radius = 2}\nmore = [{kind = 'box'}]"
    with pytest.raises(ConfigError, match=r"thing.kind is 'ball', expected 'box'$"):
        toml.loads(text, Shelf)
    monkeypatch.setattr(Family, "known", [Box, Ball])
    shelf = toml.loads(text, Shelf)
    assert shelf == Shelf(Ball(radius=2.0), more=(Box(),))
    assert toml.loads(toml.dumps(shelf), Shelf) == shelf
    assert toml.override(shelf, "thing.kind=box").thing == Box()
    with pytest.raises(ConfigError, match=r"did you mean thing.radius or more.0.radius\?"):
        toml.loads("thing = {kind = 'box'}\nradius = 2", Shelf)
    assert "thing, kind ball" in [table.name for table in help.tables(Shelf)]


def test_a_byte_order_mark_before_a_config_is_no_part_of_it(tmp_path):
    config = PRESETS["stage1-tiny"]()
    (tmp_path / "saved.toml").write_text(to_toml(config), encoding="utf-8-sig")
    assert read(tmp_path / "saved.toml") == config


def test_assignments_are_made_in_turn():
    changed = override(PRESETS["stage1-tiny"](), "optim.lr=0.5", "optim.lr=0.25", "data.seed=7")
    assert (changed.optim.lr, changed.data.seed) == (0.25, 7)
    assert changed.model == PRESETS["stage1-tiny"]().model


def test_assignments_are_judged_together():
    # each alone would leave a rate below the least rate
    changed = override(PRESETS["stage1-tiny"](), "optim.lr=1e-6", "optim.min_lr=0.0")
    assert (changed.optim.lr, changed.optim.min_lr) == (1e-6, 0.0)
    with pytest.raises(ConfigError, match="min_lr"):
        override(PRESETS["stage1-tiny"](), "optim.lr=1e-6")


def test_a_kind_that_is_a_plain_choice_keeps_the_fields_beside_it():
    changes = ("stage.teacher.kind=siglip", "stage.teacher.source=a", "stage.teacher.taps=[2]")
    changed = override(PRESETS["stage1-tiny"](), *changes).stage.teacher
    assert (changed.kind, changed.source, changed.taps) == ("siglip", "a", (2,))
    assert changed.image_size == PRESETS["stage1-tiny"]().stage.teacher.image_size

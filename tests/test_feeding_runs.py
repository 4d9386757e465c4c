"""Runs with every way of feeding: the same numbers however they are executed and cut off."""

import dataclasses
import json
import shutil

import pytest

from ivn.data.loader.loader import ClipLoader
from ivn.media.source import BUNDLED_CLIPS
from ivn.train import folder
from ivn.train.settings import EfficiencyConfig
from tests.command import SMALL, STAGE1, command

pytest.importorskip("av")
pytest.importorskip("efficientnet_lite_pytorch")
FEEDING = [
    "data.repeats=2",
    "data.images=spread",
    "data.image_share=0.5",
    "data.colour_jitter=[0.4, 0.4, 0.4, 0.1]",
    "data.rand_augment=2",
    "data.erase=0.5",
    "stage.mask=multi_block",
    "stage.blocks.count=2",
    "optim.batch_size=4",
]
# Another value of each setting that is said to change no bit; the rest are held to rounding.
EXACT = {"workers": "2", "prefetch_gib": "1e-6", "threads": "1", "device": "auto"}
ROUNDED = {"accumulation"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A list of four videos and three images."""
    Image = pytest.importorskip("PIL.Image")
    place = tmp_path_factory.mktemp("mixed")
    for file in sorted(BUNDLED_CLIPS.glob("asl-*.mp4"))[:4]:
        shutil.copy(file, place)
    for index in range(3):
        Image.linear_gradient("L").rotate(90 * index).convert("RGB").save(place / f"{index}.png")
    (place / "list.txt").write_text("\n".join(sorted(file.name for file in place.iterdir())))
    return place / "list.txt"


def losses(run):
    lines = [json.loads(text) for text in (run / folder.LOG).read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"], line["terms"]) for line in lines]


def pretrain(out, sources, *changes):
    settings = [*SMALL, *STAGE1, *FEEDING, *changes]
    code, _, err = command(
        "pretrain", "stage1-tiny", "--data", sources, "--out", out, "--set", *settings
    )
    assert (code, err) == (0, "")
    return losses(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sources):
    return pretrain(tmp_path_factory.mktemp("whole") / "run", sources)


def test_every_setting_of_efficiency_is_held_to_something():
    assert {field.name for field in dataclasses.fields(EfficiencyConfig)} == EXACT.keys() | ROUNDED


@pytest.mark.parametrize("name", ["workers", "prefetch_gib", "threads"])
def test_how_a_run_is_executed_changes_no_bit(tmp_path, sources, whole, name):
    workers = [] if name == "workers" else ["efficiency.workers=1"]
    found = pretrain(tmp_path / "run", sources, f"efficiency.{name}={EXACT[name]}", *workers)
    assert found == whole


def test_what_is_fed_matters(tmp_path, sources, whole):
    assert pretrain(tmp_path / "run", sources, "data.erase=0.0", "data.seed=0") != whole


class Killed(BaseException):
    """Ends the run here, as a kill would: nothing catches it."""


def test_a_resumed_run_is_fed_as_if_it_had_not_been_cut_off(tmp_path, sources, whole, monkeypatch):
    original = ClipLoader.__next__

    def dying(loader):
        if loader.step == 3:
            raise Killed
        return original(loader)

    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ClipLoader, "__next__", dying)
        pretrain(out, sources)
    code, said, _ = command("pretrain", "--resume", out, "--set", "efficiency.workers=2")
    assert code == 0 and "going on after step 2 of 4" in said
    assert losses(out) == whole

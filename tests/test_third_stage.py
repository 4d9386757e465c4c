"""A stage that nothing of ivn has heard of, in one file, works in every command."""

import importlib
import json
from unittest import mock

import numpy as np
import pytest

import ivn
from ivn.config.presets import PRESETS
from ivn.config.run import from_toml, help_text, override, to_toml
from ivn.errors import ConfigError
from ivn.stages import stage
from ivn.stages.build import build_stage
from tests.command import SMALL, assert_one_line, command
from tests.evaluate.commanded import write_list
from tests.logged import log
from tests.media.videos import write_video

pytest.importorskip("av")
pytest.importorskip("transformers")
pytest.importorskip("tyro")

TEACHER = [
    *("stage.teacher.kind=siglip", "stage.teacher.source=tiny", "stage.teacher.weights=random"),
    *("stage.teacher.image_size=64", "stage.teacher.taps=[4]", "stage.mask=semantic_topk"),
]
THIRD = [*SMALL, "stage.kind=colour", *TEACHER]


@pytest.fixture(autouse=True)
def known():
    """The stage is known while a test of this file runs, and to no other."""
    with mock.patch.dict(stage._KINDS):
        stage.stage_kind(importlib.import_module("tests.stages.third").ColourConfig)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Twenty videos of one colour each, with the labels "dark" and "light"."""
    place = tmp_path_factory.mktemp("videos")
    for number in range(20):
        write_video(place / f"{number}.mkv", np.full((8, 64, 64, 3), 12 * number, np.uint8))
    rows = [(place / f"{n}.mkv", ("dark", "light")[n >= 10], "") for n in range(20)]
    return write_list(place / "list.csv", rows)


@pytest.fixture(scope="module")
def run(videos, tmp_path_factory):
    """Four steps of the stage."""
    out = tmp_path_factory.mktemp("third") / "run"
    with mock.patch.dict(stage._KINDS):
        stage.stage_kind(importlib.import_module("tests.stages.third").ColourConfig)
        said = command("pretrain", "stage1-tiny", "--data", videos, "--out", out, "--set", *THIRD)
    assert said[::2] == (0, ""), said[2]
    return out


def test_text_is_read_as_its_config_and_help_lists_its_fields():
    config = override(PRESETS["stage2-tiny"](), *THIRD)
    assert config.stage.kind == "colour" and from_toml(to_toml(config)) == config
    assert "stage1 | stage2 | colour" in help_text(100)
    with pytest.raises(ConfigError, match=r"stage\.mask_ration: unknown key"):
        override(config, "stage.mask_ration=0.5")
    with pytest.raises(ConfigError, match="frames 0, size 56: expected at least 1 of each"):
        override(config, "stage.frames=0")
    with pytest.raises(ConfigError, match=r"mask_ratio is 1\.0"):
        override(config, "stage.mask_ratio=1.0")
    with pytest.raises(ConfigError, match="did you mean colour"):
        override(config, "stage.kind=color")


def test_a_kind_belongs_to_one_stage():
    class Other(stage.StageConfig):
        kind = "colour"

    with pytest.raises(ValueError, match="Other is of kind 'colour', which ColourConfig has"):
        stage.stage_kind(Other)


def test_a_run_is_trained_saved_and_taken_up(run):
    lines = log(run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["terms"].keys() == {"colour"} for line in lines)
    assert lines[-1]["health"]["grad_norm"].keys() == {"encoder", "head"}
    code, said, err = command("pretrain", "--resume", run)
    assert (code, err) == (0, "") and "going on after step 4 of 4" in said
    assert ivn.load_encoder(run).config.width == 48


def test_micro_batches_give_the_same_losses(run, videos, tmp_path):
    halves = [*THIRD, "efficiency.accumulation=2"]
    out = tmp_path / "run"
    said = command("pretrain", "stage1-tiny", "--data", videos, "--out", out, "--set", *halves)
    assert said[::2] == (0, ""), said[2]
    ours, theirs = ([line["loss"] for line in log(place)] for place in (out, run))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_another_stage_starts_from_its_encoder(run, videos, tmp_path):
    arguments = ["--data", videos, "--out", tmp_path / "two", "--init", run, "--set", *SMALL]
    said = command("pretrain", "stage2-tiny", *arguments)
    assert assert_one_line(said, "has no predictor", "stage.start=encoder") == 1
    code, said, err = command("pretrain", "stage2-tiny", *arguments, "stage.start=encoder")
    assert (code, err) == (0, "") and f"encoder from {run}; new: predictor, decoder" in said


def test_a_mask_without_the_teacher_that_it_follows_is_refused(videos, tmp_path):
    settings = [*SMALL, "stage.kind=colour", "stage.mask=semantic_topk"]
    said = command(
        *("pretrain", "stage1-tiny", "--data", videos, "--out", tmp_path / "no", "--set"), *settings
    )
    words = "stage.mask follows an image teacher's attention: choose stage.teacher.kind"
    assert assert_one_line(said, words) == 1
    said = command("data", "view", videos, "-o", tmp_path / "no.html", "--set", *settings)
    assert assert_one_line(said, words) == 1


def test_a_contact_sheet_shows_its_masks(run, videos, tmp_path):
    out = tmp_path / "sheet.html"
    code, said, err = command("data", "view", videos, "-o", out, "--run", run, "--clips", 2)
    assert (code, err) == (0, "") and said.startswith("2 clips") and out.exists()


def test_a_page_shows_its_name_masks_attention_and_features(run, tmp_path):
    out = tmp_path / "page.html"
    code, _, err = command("report", run, "-o", out)
    assert (code, err) == (0, "")
    page = out.read_text("utf-8")
    assert '<span class="badge">colours</span>' in page
    for words in ("teacher&#x27;s attention", "visible", ">teacher<", ">random<", ">colours<"):
        assert words in page, words
    assert "No run here has a trained decoder of pixels." in page
    assert "cannot be built here" not in page


def test_a_probe_reads_its_encoder(run, videos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, said, err = command(
        *(
            "evaluate",
            "classify",
            "--encoder",
            run,
            "--data",
            videos,
            "--heads",
            "knn",
            "--folds",
            2,
        )
    )
    assert (code, err) == (0, ""), err
    assert json.loads(said.splitlines()[-1])["n"] == 20


def test_its_clips_are_known_without_any_network(run):
    config = override(PRESETS["stage1-tiny"](), *THIRD)
    built = build_stage(config.model, config.stage, seed=0, batch_size=2)
    assert built.clip_specs == config.stage.clip_specs
    assert {name: spec.size for name, spec in built.clip_specs.items()} == {
        "student": 56,
        "teacher": 64,
    }

"""What users give by mistake, through the command line: one clear line, the right exit code."""

import argparse
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from ivn.config.presets import PRESETS
from ivn.config.run import to_toml
from ivn.data.manifest.listing import list_clips
from ivn.media.source import BUNDLED_CLIPS
from ivn.model.state_dict import read_state
from ivn.train import checkpoint, folder
from tests.command import SMALL, STAGE1, assert_one_line, command
from tests.media.test_real_clips import UNDECODABLE
from tests.media.videos import broken_files, noise, write_mp4

pytest.importorskip("av")
BROKEN = ("cover", "empty", "header", "sound", "text", "truncated")


def pretrain(data, out, *settings):
    changes = [*SMALL, *STAGE1, *settings]
    return command("pretrain", "stage1-tiny", "--data", data, "--out", out, "--set", *changes)


def logged(run):
    return [json.loads(line) for line in (run / folder.LOG).read_text().splitlines()]


@pytest.fixture
def mixed(tmp_path):
    """A folder with six whole videos and six that no decoder can use."""
    data = tmp_path / "clips"
    data.mkdir()
    broken_files(data)
    for number in range(6):
        write_mp4(data / f"whole-{number}.mp4", noise(8))
    assert len(list_clips(data)) == 12
    return data


def test_broken_files_are_replaced_counted_and_named_at_the_end(mixed, tmp_path):
    run = tmp_path / "run"
    once = ("optim.epochs=1", "optim.warmup_epochs=0", "optim.steps=0")
    code, out, err = pretrain(mixed, run, *once, "run.max_replaced_share=1")
    assert (code, err) == (0, "")
    named = {
        name: int(times) for times, name in re.findall(r"replaced (\d+) times: .*/(\w+)\.", out)
    }
    # Each place in the order once; a broken one may be drawn again in another's stead.
    assert sorted(named) == sorted(BROKEN)
    assert sum(named.values()) == sum(line["replaced"] for line in logged(run)) >= len(BROKEN)
    for kind in BROKEN:
        assert re.search(f"replaced \\d+ times: {mixed / kind}.mp4: ", out)
    assert "Traceback" not in out


def test_too_many_broken_files_stop_the_run_with_a_list_and_it_can_go_on(mixed, tmp_path):
    run = tmp_path / "run"
    code, _, err = pretrain(mixed, run, "optim.steps=9")
    assert code == 1
    first, *listed = err.splitlines()
    assert first.startswith("ivn: ") and "run.max_replaced_share = 0.1" in first
    # Places of the order, however many files were tried for one.
    clips, of = map(int, re.match(r"ivn: (\d+) of (\d+) clips had to be replaced", first).groups())
    assert 0 < clips < of and clips <= sum(line["replaced"] for line in logged(run))
    replaced = {one["path"] for line in logged(run) for one in line.get("replacements", [])}
    assert {name.split(": ")[0].strip() for name in listed} == replaced != set()
    # Nothing is lost: the steps up to there are kept, and a larger share takes it to its end.
    assert checkpoint.latest(run) is not None
    code, _, err = command("pretrain", "--resume", run, "--set", "run.max_replaced_share=1")
    assert (code, err) == (0, "")
    assert [line["step"] for line in logged(run)] == list(range(1, 10))


def test_a_broken_file_whose_name_is_no_text_is_named_too(tmp_path):
    data, run = tmp_path / "clips", tmp_path / "run"
    data.mkdir()
    write_mp4(data / "whole.mp4", noise(8))
    Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9.mp4")).touch()
    settings = ("optim.steps=1", "run.max_replaced_share=1")
    code, out, err = pretrain(data, run, *settings)
    assert (code, err) == (0, "")
    assert "caf\\udce9.mp4: the file is empty (0 bytes)" in out
    assert command("pretrain", "--resume", run)[::2] == (0, "")


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_files_ends_at_once_and_can_be_started_again(tmp_path, workers):
    data, run = tmp_path / "clips", tmp_path / "run"
    data.mkdir()
    for name in ("a", "b", "c"):
        (data / f"{name}.mp4").touch()
    settings = (f"efficiency.workers={workers}", "optim.steps=1")
    code, _, err = pretrain(data, run, *settings)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("ivn: no file can be used: ")
    assert err.count("the file is empty") == 3
    assert list(run.iterdir()) == []
    for name in ("a", "b", "c"):
        write_mp4(data / f"{name}.mp4", noise(8))
    assert pretrain(data, run, *settings)[::2] == (0, "")


@pytest.mark.parametrize(
    "form", ["{}", "{} 3", "{} 0 -1", "{},a word", "{},3,0.1,0.7", "k400 {} 0.8 -1 -1 3"]
)
def test_lists_of_every_documented_form_train(tmp_path, form):
    videos = [write_mp4(tmp_path / f"{name}.mp4", noise(8)) for name in "ab"]
    # Absolute, and relative to the list's folder.
    paths = [videos[0], videos[1].name]
    (tmp_path / "list.csv").write_text("".join(form.format(path) + "\n" for path in paths))
    run = tmp_path / "run"
    assert pretrain(tmp_path / "list.csv", run, "optim.steps=1")[::2] == (0, "")
    assert logged(run)[0]["replaced"] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"name = 'x'\noptim = {lrr = 1}\n", "optim.lrr: unknown key; did you mean optim.lr?"),
        (b"name = 'x'\nstages = 1\n", "stages: unknown key; did you mean stage?"),
        (b"name = 'x'\nzzz = 1\n", "zzz: unknown key; the config has name, data, model, stage"),
        (b"this is no TOML", "not TOML: "),
        (b"name = 'caf\xe9'", "expected a config as UTF-8 text"),
        (b"\x00\x01\x02", "not TOML: "),
        (b"", "name is missing"),
    ],
)
def test_a_config_that_is_none_is_one_line_that_names_the_file(tmp_path, text, words):
    file = tmp_path / "my.toml"
    file.write_bytes(text)
    for arguments in (
        ("pretrain", "--config", file, "--data", tmp_path, "--out", tmp_path / "run"),
        ("config", file),
    ):
        assert assert_one_line(command(*arguments), f"{file}: ", words) == 2


def test_a_config_that_cannot_be_read_is_one_line_in_our_words(tmp_path):
    out = ("--data", tmp_path, "--out", tmp_path / "run")
    said = command("pretrain", "--config", tmp_path / "no.toml", *out)
    assert assert_one_line(said, f"{tmp_path}/no.toml: no such file, expected a config") == 1
    said = command("pretrain", "--config", tmp_path, *out)
    assert assert_one_line(said, f"{tmp_path}: is a directory") == 1


def test_a_run_cannot_be_put_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    said = pretrain(BUNDLED_CLIPS, tmp_path / "file" / "run")
    assert assert_one_line(said, f"{tmp_path}/file is a file, expected a new folder") == 1


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """A run of stage one, of one step."""
    out = tmp_path_factory.mktemp("stage1") / "run"
    assert pretrain(BUNDLED_CLIPS, out, "optim.steps=1")[0] == 0
    return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.encoder.width=96", "encoder.width is 48"),
        ("model.encoder.depth=3", "encoder.depth is 2"),
        ("model.encoder.heads=6", "encoder.heads is 3"),
        ("model.encoder.pool_heads=2", "encoder.pool_heads is 4"),
        ("model.encoder.num_frames=8", "encoder.num_frames is 4"),
        ("model.encoder.image_height=112", "encoder.image_height is 56"),
        ("model.predictor.layers=1", "predictor.layers is 2"),
        ("model.predictor.local_window=8", "predictor.local_window is 64"),
    ],
)
def test_stage_one_of_another_size_is_refused_by_the_name_of_the_size(
    tmp_path, stage1, change, words
):
    run = tmp_path / "run"
    arguments = ["stage2-tiny", "--data", BUNDLED_CLIPS, "--out", run, "--init", stage1]
    said = command("pretrain", *arguments, "--set", *SMALL, change)
    assert assert_one_line(said, str(stage1), words, change.partition("=")[0]) == 1
    assert not run.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stage.views=[]", "views is empty"),
        ("stage.views.0.count=0", "stage.views.0.count is 0, expected at least 1"),
        ("stage.views.0.scale=-0.5", "scale is -0.5, expected above 0 and up to 1"),
        ("stage.views.0.scale=nan", "stage.views.0.scale is nan, expected a finite number"),
        ("stage.views.1.max_keep=0.0", "max_keep is 0.0, expected above 0 and up to 1"),
        ("stage.views.1.min_aspect=2.0", "min_aspect <= max_aspect"),
        ("model.predictor.global_every=0", "global_every is 0, expected at least 1"),
        ("optim.epochs=inf", "optim.epochs is inf, expected a finite number"),
        ("optim.eps=nan", "optim.eps is nan, expected a finite number"),
        ("optim.steps=-1", "steps is -1"),
        ("data.seed=-1", "seed is -1"),
        ("data.crop_area=[0.5, 0.1]", "crop_area"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(tmp_path, stage1, change, words):
    run = tmp_path / "run"
    arguments = ["stage2-tiny", "--data", BUNDLED_CLIPS, "--out", run, "--init", stage1]
    said = command("pretrain", *arguments, "--set", *SMALL, change)
    assert assert_one_line(said, change.rpartition(".")[0].split(".")[0], words) == 2
    assert not run.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stage.size=60", "stage.size is 60, expected a multiple of model.encoder.patch_size 14"),
        ("model.decoder.width=0", "model.decoder.width is 0, expected at least 1"),
        ("model.decoder.kind=latent", "decoder of pixels"),
        ("stage.mask=frame_difference", "needs 2 frames or more, not 1"),
    ],
)
def test_settings_of_stage_one_that_cannot_work_are_refused(tmp_path, change, words):
    run = tmp_path / "run"
    said = pretrain(BUNDLED_CLIPS, run, "stage.frames=1", "model.encoder.num_frames=1", change)
    assert assert_one_line(said, words) in (1, 2)
    assert not run.exists()


def test_blocks_that_hide_everything_are_one_line_when_they_are_drawn(tmp_path, stage1):
    run = tmp_path / "run"
    arguments = ["stage2-tiny", "--data", BUNDLED_CLIPS, "--out", run, "--init", stage1]
    large = [
        "stage.views.0.scale=0.99",
        "stage.views.0.max_aspect=1.0",
        "stage.views.0.min_aspect=1.0",
    ]
    code, _, err = command("pretrain", *arguments, "--set", *SMALL, *large)
    assert (code, err.count("\n")) == (1, 1)
    assert "cover all of a frame" in err and "lower the scale 0.99" in err


def test_what_is_no_size_may_differ_from_stage_one(tmp_path, stage1):
    arguments = ["stage2-tiny", "--data", BUNDLED_CLIPS, "--out", tmp_path / "run"]
    changes = [*SMALL, "optim.steps=1", "model.encoder.drop_path=0.1"]
    assert command("pretrain", *arguments, "--init", stage1, "--set", *changes)[::2] == (0, "")


def test_weights_with_python_objects_are_refused_with_a_way_out_that_works(tmp_path, monkeypatch):
    file, run = tmp_path / "released.pt", tmp_path / "run"
    content = {"module": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=1)}
    torch.save(content, file)
    arguments = ["stage2-tiny", "--data", BUNDLED_CLIPS, "--out", run, "--init", file]
    said = command("pretrain", *arguments, "--set", *SMALL)
    assert assert_one_line(said, "it also holds argparse.Namespace", "if you trust the file") == 1
    monkeypatch.chdir(tmp_path)
    exec(said[2].partition("in Python: ")[2], {"torch": torch})
    assert read_state(tmp_path / "weights.pt")["a"].tolist() == [1, 1]


def test_a_run_whose_own_files_are_damaged_is_one_line(tmp_path, stage1):
    for name, text in [
        (folder.CONFIG, b"caf\xe9"),
        (folder.CONFIG, b"no TOML"),
        (folder.SOURCE, b"no JSON"),
    ]:
        run = tmp_path / "run"
        shutil.copytree(stage1, run)
        (run / name).write_bytes(text)
        assert assert_one_line(command("pretrain", "--resume", run), str(run)) in (1, 2)
        shutil.rmtree(run)


def test_a_card_that_is_none_is_one_line(tmp_path, stage1):
    source = tmp_path / "stage1"
    shutil.copytree(checkpoint.latest(stage1), source)
    arguments = ["stage2-tiny", "--data", BUNDLED_CLIPS, "--out", tmp_path / "run"]
    for text in ("no JSON", "[]"):
        (source / checkpoint.CARD).write_text(text)
        said = command("pretrain", *arguments, "--init", source, "--set", *SMALL)
        assert assert_one_line(said, f"{source}/config.json describes no model") == 1


def test_the_config_is_not_printed_before_the_input_is_known_good(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(to_toml(PRESETS["stage1-tiny"]()))
    run = tmp_path / "run"
    said = command("pretrain", "--config", file, "--data", tmp_path, "--out", run)
    assert assert_one_line(said, f"{tmp_path}: no videos in this folder") == 1


REAL = os.environ.get("IVN_TEST_CLIPS", "")


@pytest.mark.soak
@pytest.mark.skipif(not REAL, reason="IVN_TEST_CLIPS is not set")
def test_every_real_clip_is_trained_on_or_replaced_by_name(tmp_path):
    clips = list_clips(REAL)
    batch = next(size for size in range(8, len(clips) + 1) if len(clips) % size == 0)
    run = tmp_path / "run"
    code, out, err = pretrain(
        REAL,
        run,
        *("run.max_replaced_share=1", f"optim.batch_size={batch}"),
        *("optim.epochs=1", "optim.warmup_epochs=0", "optim.steps=0"),
    )
    assert (code, err) == (0, "")
    assert f"finished {len(clips) // batch} steps" in out
    names = {Path(path).name for path in re.findall(r"replaced \d+ times: (.*?): ", out)}
    assert names == UNDECODABLE.keys()

"""A contact sheet shows what the loader gives and what the stage masks."""

import base64
import io
import os
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ivn.config.presets import PRESETS
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.data.sampling.plan import Plan
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS
from ivn.model.packed import Packed
from ivn.report.contact.command import seeded
from ivn.report.contact.masks import mask_networks
from ivn.report.contact.samples import first_samples
from ivn.stages.build import build_stage
from tests.browser import chromium, opened
from tests.command import assert_one_line, command
from tests.media.videos import noise, numbered_frames, write_mp4, write_video
from tests.small import SIZES

pytest.importorskip("av")
pytest.importorskip("tyro")

FEW = [*SIZES, "optim.batch_size=4"]
STAGE1 = ["stage.teacher.image_size=128"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Real clips and two unusable files."""
    place = tmp_path_factory.mktemp("clips")
    for clip in sorted(BUNDLED_CLIPS.glob("*.mp4"))[:6]:
        os.symlink(clip, place / clip.name)
    (place / "broken.mp4").write_bytes(b"no video")
    (place / "empty.mp4").touch()
    return place


def config_of(preset, *changes):
    from ivn.config.run import override

    return override(
        PRESETS[preset](), *FEW, *(STAGE1 if preset.startswith("stage1") else ()), *changes
    )


# Without a teacher where none is asked for anything: it takes seconds to build.
ALONE = "stage.layers_weight=0"
CONFIGS = {
    "tube": ("stage1-tiny", "stage.mask=tube", ALONE, "data.repeats=2", "data.erase=1"),
    "frame_difference": ("stage1-tiny", "stage.mask=frame_difference", ALONE),
    "multi_block": ("stage2-tiny", "data.frame_offsets=released"),
    "packed": ("stage2-tiny", "stage.views.0.truncate=none"),
    "semantic": ("stage1-tiny", "stage.teacher.weights=random"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_and_masks_are_those_of_loader_and_stage(folder, name):
    config = seeded(config_of(*CONFIGS[name]), 3)
    sources, count = list_clips(folder), config.optim.batch_size
    networks = mask_networks(config, None)
    samples, replaced = first_samples(Plan(sources, config.data, count), networks.specs, count)
    stage = build_stage(
        config.model, config.stage, seed=config.data.seed, batch_size=count, pretrained=False
    )
    with ClipLoader(sources, stage.clip_specs, config.data, batch_size=count, workers=0) as loader:
        batch = next(loader)
    assert [(one.path, one.by) for one in replaced] == [(o.path, o.by) for o in batch.replaced]
    for row, sample in enumerate(samples):
        for consumer, clip in stage.clip_specs.items():
            if consumer in sample.batch.clips:
                assert torch.equal(sample.batch.clips[consumer][0], batch.clips[consumer][row]), (
                    clip
                )
        assert torch.equal(sample.batch.keys[0], batch.keys[row])
    told = stage.semantic.look(batch).attention
    for view in range(stage.masking.views):
        visible = stage.mask(batch, told, view=view)[0]
        for row, sample in enumerate(samples):
            ours = networks.masks(sample.batch)[view].visible
            if isinstance(visible, Packed):
                ends = visible.cu_seqlens
                theirs = visible.index[int(ends[row]) : int(ends[row + 1])]
            else:
                theirs = visible[row]
            assert ours.tolist() == theirs.tolist()


def test_a_teacher_of_clips_that_is_not_read_still_decides_the_frames():
    config = config_of("stage1-tiny", "stage.mask=tube", "stage.teacher.kind=videomae")
    frames = [spec.frames for spec in mask_networks(config, None).specs.values()]
    assert frames == [config.stage.frames, 2 * config.stage.frames]


def test_times_crop_and_frame_are_those_that_were_drawn(tmp_path):
    # Every frame tells its number, and every column its place.
    frames = numbered_frames(24, 64, 96)
    frames[..., 1] = np.arange(96)
    write_video(tmp_path / "a.mkv", frames, rate=10)
    config = config_of("stage1-tiny", "stage.mask=tube", "optim.batch_size=1")
    for seed in range(4):
        own = seeded(config, seed)
        plan = Plan(list_clips(tmp_path), own.data, 1)
        (sample,), _ = first_samples(plan, mask_networks(own, None).specs, 1)
        clip, crop = sample.batch.clips["student"][0], sample.crop
        assert sample.times == pytest.approx([int(f[0, 0, 0]) / 100 for f in clip], abs=1e-3)
        assert sample.whole.shape == (64, 96, 3)
        assert int(sample.whole[0, 0, 0]) / 100 == pytest.approx(sample.times[len(clip) // 2])
        columns = clip[0, 0, :, 1].float()
        left, right = columns.min().item(), columns.max().item()
        assert left == pytest.approx(crop.left, abs=2)
        assert right == pytest.approx(crop.left + crop.width - 1, abs=2)
        assert crop.flip == bool(columns[0] > columns[-1])


def view(*arguments):
    return command("data", "view", *arguments, "--set", *FEW, "stage.mask=tube")


def pictures(page):
    """The pictures of a sheet in their order."""
    for kind, code in re.findall(r'src="data:image/(\w+);base64,([^"]+)"', page.read_text("utf-8")):
        with Image.open(io.BytesIO(base64.b64decode(code))) as picture:
            assert picture.format == kind.upper()
            yield np.asarray(picture.convert("RGB"), np.int16)


def test_the_sheet_is_a_page_and_unusable_files_are_named_once(folder, tmp_path):
    out = tmp_path / "sheet.html"
    code, said, err = view(folder, "-o", out, "--preset", "stage1-tiny", "--clips", 7)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    told = [line for line in lines if line.startswith("replaced: ")]
    assert re.search(r"\d clips, \d unusable files? replaced", said) and lines[-1] == str(out)
    assert len(told) == len(set(told)) >= 1
    # Of each clip the whole frame with an edge around its crop, its frames, and those greyed out.
    found = list(pictures(out))
    assert len(found) == 3 * 7
    for whole, frames, masked in zip(found[::3], found[1::3], found[2::3], strict=True):
        assert (abs(whole - (250, 204, 21)).max(2) < 60).sum() > 100
        assert frames.shape == masked.shape and frames.shape[1] == 4 * frames.shape[0]
        assert 0.6 < (abs(masked - 222).max(2) < 12).mean() < 0.95
    again = view(folder, "-o", out, "--preset", "stage1-tiny")
    assert assert_one_line(again, "is there already") == 1


def test_a_page_asks_nobody_and_runs_nothing_that_a_file_is_called(tmp_path):
    name = "<script>alert(1)</script>\n\u202e.mp4"
    write_mp4(tmp_path / "a.mp4", noise(9))
    try:
        (tmp_path / "a.mp4").rename(tmp_path / name.replace("/", ""))
    except OSError:
        pytest.skip("this file system has no such names")
    assert (
        view(tmp_path, "-o", tmp_path / "a.html", "--preset", "stage1-tiny", "--clips", 1)[0] == 0
    )
    with chromium() as browser, opened(browser, tmp_path / "a.html") as (page, seen):
        assert "alert(1)" in page.inner_text("h3")
        assert seen.requests == [(tmp_path / "a.html").as_uri()] and not seen.errors + seen.dialogs


def test_the_same_seed_gives_the_same_sheet_and_another_another(folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.html"
        given = ("-o", out, "--preset", "stage1-tiny", "--clips", 1, "--seed", seed)
        assert view(folder, *given)[0] == 0
    one, same, other = ((tmp_path / f"{name}.html").read_bytes() for name in "abc")
    assert one == same != other


def test_fewer_clips_than_a_batch_are_shown_and_told(tmp_path):
    write_mp4(tmp_path / "a.mp4", noise(9))
    code, out, err = command(
        *("data", "view", tmp_path, "-o", tmp_path / "a.html", "--preset", "stage1-tiny"),
        *("--set", "stage.mask=tube"),
    )
    assert code == 0 and out.startswith("1 clips, 0 unusable files replaced")
    assert err == "1 clips are fewer than one batch of 8, which training needs\n"


def test_a_teacher_that_cannot_be_read_is_told_in_a_line_and_the_sheet_is_drawn(tmp_path):
    write_mp4(tmp_path / "a.mp4", noise(9))
    settings = ["stage.teacher.kind=siglip", f"stage.teacher.source={tmp_path}/none"]
    code, _, err = command(
        *("data", "view", tmp_path, "-o", tmp_path / "a.html", "--preset", "stage1-tiny"),
        *("--set", *settings, "optim.batch_size=1"),
    )
    assert code == 0 and (tmp_path / "a.html").exists()
    (line,) = err.splitlines()
    assert line.startswith("no masks: the mask semantic_topk follows the attention of siglip")


def test_a_hub_out_of_reach_is_asked_once_and_told_in_a_line(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")

    def again(_):
        raise AssertionError("the hub is asked again")

    write_mp4(tmp_path / "a.mp4", noise(9))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", again)
    settings = ["stage.teacher.kind=siglip", "stage.teacher.source=nobody/has-this"]
    code, _, err = command(
        *("data", "view", tmp_path, "-o", tmp_path / "a.html", "--preset", "stage1-tiny"),
        *("--set", *settings, "optim.batch_size=1"),
    )
    assert code == 0 and (tmp_path / "a.html").exists() and not constants.HF_HUB_OFFLINE
    (line,) = err.splitlines()
    assert "siglip nobody/has-this: " in line
    assert line.endswith("(http://127.0.0.1:9 does not answer: Connection refused)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "a.jpg"), "ends in .html"),
        (("-o", "no/a.html"), "no: no such folder"),
        (("-o", "a.html", "--clips", 0), "0 clips"),
        (("-o", "a.html", "--preset", "nope"), "no preset 'nope'"),
        (("-o", "a.html", "--run", "nope"), "nope"),
        (("-o", "a.html", "--run", "nope", "--preset", "stage1-tiny"), "not both"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_mp4(tmp_path / "v.mp4", noise(3))
    assert assert_one_line(command("data", "view", "v.mp4", *arguments), said) in (1, 2)
    assert not list(tmp_path.glob("*.html"))


def test_a_run_lends_its_settings_and_weights(tmp_path, folder):
    from ivn.run import start

    changes = ("optim.steps=1", "run.save_every=1", "run.max_replaced_share=1")
    config = config_of("stage1-tiny", "stage.mask=frame_difference", ALONE, *changes)
    run = tmp_path / "run"
    assert start(config, data=folder, out=run, show_config=False) == 0
    code, out, err = command("data", "view", folder, "-o", tmp_path / "a.html", "--run", run)
    assert (code, err) == (0, ""), err
    assert out.splitlines()[-1] == str(tmp_path / "a.html")


def test_a_manifest_of_windows_and_members_is_shown(tmp_path):
    write_mp4(tmp_path / "a.mp4", noise(30))
    rows = [Row("a.mp4", start=1.0, end=2.0, labels={"verb": "take", "noun": "cup"})] * 4
    write_manifest(tmp_path / "M.parquet", rows)
    config = config_of("stage1-tiny", "stage.mask=tube")
    plan = Plan(list_clips(tmp_path / "M.parquet"), config.data, 4)
    samples, _ = first_samples(plan, mask_networks(config, None).specs, 4)
    for sample in samples:
        assert all(1.0 <= time < 2.0 for time in sample.times)
        assert len(decode(sample.source, range)) == 10
    assert view(tmp_path / "M.parquet", "-o", tmp_path / "a.html")[0] == 0

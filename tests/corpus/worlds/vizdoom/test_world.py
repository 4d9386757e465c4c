"""A small world, rendered once by the command itself, and what must be so in it."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ivn.corpus.worlds.vizdoom.engine import DEPTH_UNIT, screen_for
from ivn.corpus.worlds.vizdoom.moves import ACTIONS
from ivn.corpus.worlds.vizdoom.options import VizdoomWorld
from ivn.corpus.worlds.vizdoom.world import render
from ivn.data.manifest.listing import list_clips
from ivn.errors import DataError
from ivn.evaluate.splits import folds_of, groups_of
from ivn.media.decode import count_frames, decode
from tests.command import assert_one_line, command

pytest.importorskip("av")
pytest.importorskip("vizdoom")
MAPS = ("MAP01", "MAP07")
WORLD = VizdoomWorld(clips=14, frames=6, size=64, fps=8.75, seed=3, maps=MAPS)
OPTIONS = ["--frames", "6", "--size", "64", "--fps", "8.75", "--seed", "3", "--maps", "MAP01,MAP07"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "w"
    code, said, err = command(
        "data", "render", "vizdoom", "--clips", 14, "--out", out, "--workers", 1, *OPTIONS
    )
    assert (code, err) == (0, "")
    assert "14 clips rendered" in said and said.splitlines()[-1] == str(out / "manifest.parquet")
    return out


@pytest.fixture(scope="module")
def clips(world):
    return list_clips(world / "manifest.parquet")


def known(clip, kind):
    return np.load(clip.targets[kind], allow_pickle=False)


def digests(folder):
    """Name -> digest of every file of the clips."""
    files = [file for file in folder.glob("MAP*/*") if file.suffix in (".mp4", ".npz")]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_every_clip_is_a_video_with_its_ground_truth_beside_it(clips):
    assert len(clips) == 14
    for clip in clips:
        assert count_frames(clip.path) == 6
        video = decode(clip.path, range)
        assert video.shape == (6, 64, 64, 3)
        assert set(clip.targets) == {"depth", "pose", "actions", "boxes"}
        arrays = known(clip, "depth")
        assert (arrays["depth"].shape, arrays["depth"].dtype) == ((6, 64, 64), np.uint8)
        assert (arrays["pose"].shape, arrays["actions"].shape) == ((6, 4), (6, 3))
        assert not clip.flip


def test_classes_and_maps_are_balanced_and_a_group_is_a_map(clips):
    assert Counter(clip.labels["action"] for clip in clips) == dict.fromkeys(ACTIONS, 2)
    assert Counter(clip.group for clip in clips) == dict.fromkeys(MAPS, 7)
    assert all(clip.group == clip.labels["map"] == Path(clip.path).parts[-2] for clip in clips)


def test_a_split_by_groups_never_shows_a_map_in_training_and_test(clips):
    labels = np.array([list(ACTIONS).index(clip.labels["action"]) for clip in clips])
    folds = folds_of(groups_of(clips), labels, 2, seed=0)
    maps = np.array([clip.labels["map"] for clip in clips])
    assert {*maps[folds == 0]} | {*maps[folds == 1]} == {*MAPS}
    assert not {*maps[folds == 0]} & {*maps[folds == 1]}


def test_the_camera_moves_as_the_label_says(clips):
    for clip in clips:
        x, y, _, angle = known(clip, "pose")["pose"].astype(float).T
        look = np.radians(angle[:-1])
        ahead = np.diff(x) * np.cos(look) + np.diff(y) * np.sin(look)
        aside = np.diff(x) * np.sin(look) - np.diff(y) * np.cos(look)
        turned = (np.diff(angle) + 180) % 360 - 180
        forward, right, left = ACTIONS[clip.labels["action"]]
        # Units and degrees a frame, of four tics.
        if forward or right:
            along = forward * ahead + right * aside
            across = forward * aside - right * ahead
            assert (along > 5).all() and (np.abs(across) < along / 3).all(), clip
        else:
            assert max(np.ptp(x), np.ptp(y)) < 0.5, clip
        assert (turned * left > 5).all() if left else (np.abs(turned) < 1.3).all(), clip


def test_turning_left_moves_the_picture_to_the_right(clips):
    """By eye and not by number: the picture, shifted to the right, is the next frame."""
    for action, sign in [("turn_left", 1), ("turn_right", -1)]:
        for clip in (clip for clip in clips if clip.labels["action"] == action):
            video = decode(clip.path, range).numpy().astype(float)
            errors = {
                shift: np.abs(
                    np.roll(video[:-1], shift, 2)[:, :, 24:40] - video[1:, :, 24:40]
                ).mean()
                for shift in range(-16, 17)
            }
            assert sign * min(errors, key=errors.get) > 2, (clip, errors)


def test_actions_are_what_was_pressed(clips):
    for clip in clips:
        pressed = known(clip, "actions")["actions"]
        assert (np.sign(pressed[:, :2]) == ACTIONS[clip.labels["action"]][:2]).all()
        # Degrees a tic, four tics a frame, to the left.
        angle = known(clip, "pose")["pose"][:, 3]
        turned = (np.diff(angle) + 180) % 360 - 180
        np.testing.assert_allclose(turned, 4 * pressed[:-1, 2], atol=0.05)


def test_boxes_lie_on_objects_at_the_depth_that_their_place_says(clips):
    """Where a thing stands, seen from where the eye is, is in its box, and as far as depth says."""
    looked_at = 0
    focal = screen_for(64)[0] / 2 / 2  # of a 90 degree screen at half its resolution
    for clip in clips:
        arrays = known(clip, "boxes")
        for box, frame, place in zip(
            arrays["boxes"], arrays["box_frame"], arrays["box_position"], strict=True
        ):
            left, top, right, bottom = box
            assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
            x, y, _, angle = arrays["pose"][frame].astype(float)
            look = np.radians(angle)
            ahead = (place[0] - x) * np.cos(look) + (place[1] - y) * np.sin(look)
            aside = (place[0] - x) * np.sin(look) - (place[1] - y) * np.cos(look)
            column = 32 + focal * aside / ahead
            # Parts of it may be hidden: what can be told is told of those in full view.
            inside = arrays["depth"][frame, top:bottom, left:right]
            if 80 < ahead < 500 and left > 2 and right < 62 and right - left >= 4:
                distance = (inside.astype(float) + 0.5) * DEPTH_UNIT
                if (np.abs(distance - ahead) < 10 + 0.03 * ahead).mean() > 0.2:
                    assert left - 4 <= column <= right + 4, (clip, box, column)
                    looked_at += 1
    assert looked_at > 20
    names = {name for clip in clips for name in known(clip, "boxes")["box_name"]}
    assert names and "DoomPlayer" not in names


def test_the_floor_at_the_feet_is_nearer_than_the_horizon(clips):
    for clip in clips:
        depth = known(clip, "depth")["depth"].astype(int)
        feet, horizon = depth[0, -4:, 28:36].mean(), depth[0, 30:34, 28:36].mean()
        assert 4 < feet < horizon, clip
        assert depth.max() < screen_for(64)[0] * 2 // 5


def test_any_number_of_workers_renders_the_same_bit_for_bit(world, tmp_path):
    render(WORLD, tmp_path / "w", workers=3)
    assert digests(tmp_path / "w") == digests(world)
    assert len(digests(world)) == 28
    other = render(replace(WORLD, clips=2, seed=4), tmp_path / "other", workers=1)
    assert other.clips == 2
    assert not set(digests(tmp_path / "other").values()) & set(digests(world).values())


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
def test_a_render_that_is_killed_goes_on_and_overwrites_nothing(world, tmp_path):
    out = tmp_path / "w"
    arguments = ["data", "render", "vizdoom", "--clips", "14", "--out", str(out), *OPTIONS]
    run = subprocess.Popen([sys.executable, "-m", "ivn", *arguments, "--workers", "1"])
    while not list(out.glob("MAP01/0*.mp4")):  # a temporary name begins with a dot
        time.sleep(0.02)
        assert run.poll() is None
    working = engines_of(run.pid)
    run.kill()
    run.wait()
    before = {file: os.stat(file).st_mtime_ns for file in out.glob("MAP01/0*.mp4")}
    assert not (out / "manifest.parquet").exists()
    assert 0 < len(before) < 14
    (out / "MAP01" / ".tmp-1-000099.mp4").write_bytes(b"cut off")
    code, said, err = command(*arguments)
    assert (code, err) == (0, "") and f"{14 - len(before)} clips rendered" in said
    assert {file: os.stat(file).st_mtime_ns for file in before} == before
    assert digests(out) == digests(world)
    assert not list(out.glob("**/.tmp-*"))
    assert list_clips(out / "manifest.parquet")[5].labels["action"] == "strafe_left"
    # Nobody is left to render for the one that was killed.
    assert working and not [pid for pid in working if is_running(pid)]


def is_running(pid):
    """Whether it is there and no zombie, for which nobody has asked yet."""
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def engines_of(parent):
    """The processes that render for one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = status.read_text().rpartition(")")
            if name.endswith("(vizdoom") and rest.split()[1] == str(parent):
                found.append(status.parent.name)
    return found


def test_what_cannot_be_rendered_is_one_line(world, tmp_path, monkeypatch):
    def refused(*words, **options):
        given = {"--clips": 7, "--out": tmp_path / "new"} | options
        arguments = [word for pair in given.items() for word in pair]
        return assert_one_line(command("data", "render", "vizdoom", *arguments), *words)

    assert refused("is there already", **{"--out": world}) == 1
    assert refused("expected a new folder", **{"--out": Path(__file__).parent}) == 1
    cases = [
        (["MAP33", "MAP01 to MAP32"], {"--maps": "MAP01,MAP33"}),
        (["20.0 frames a second", "35, 17.5"], {"--fps": 20}),
        (["expected 32 to", "even"], {"--size": 65}),
        (["0 clips"], {"--clips": 0}),
        (["2 to 10000"], {"--frames": 1}),
    ]
    for words, options in cases:
        assert refused(*words, **options) == 2
    begun = tmp_path / "begun"
    shutil.copytree(world, begun)
    (begun / "manifest.parquet").unlink()
    assert refused("other settings", '"clips": 14', **{"--out": begun}) == 1
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    assert refused("pip install 'ivn[vizdoom]'") == 1
    assert not (tmp_path / "new").exists()


def test_a_map_without_room_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ivn.corpus.worlds.vizdoom.world.find_start", lambda *_: None)
    with pytest.raises(DataError, match=r"MAP01 has no room for 6 frames of stand_still .*--maps"):
        render(WORLD, tmp_path / "w", workers=1)


def test_the_manifest_tells_how_the_world_was_made(world):
    import pyarrow.parquet as parquet

    row = parquet.read_table(world / "manifest.parquet").to_pylist()[8]
    assert row["path"] == "MAP07/000008.mp4"
    assert Fraction(row["fps"]) == Fraction(35, 4) and row["duration"] == 6 / 8.75
    assert (row["width"], row["height"], row["frames"], row["codec"]) == (64, 64, 6, "h264")
    extra = dict(row["extra"])
    assert (extra["seed"], extra["clip"]) == ("3", "8") and extra["engine"].startswith("vizdoom ")
    assert json.loads((world / "render.json").read_text())["maps"] == list(MAPS)

"""A small world of drawn scenes, rendered once by the command, and what must be so in it."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from ivn.corpus.worlds.scenes.options import ScenesWorld
from ivn.corpus.worlds.scenes.scene import CAMERA, CLASSES, draw_scene
from ivn.corpus.worlds.scenes.textures import TEXTURES, texture
from ivn.corpus.worlds.scenes.world import render
from ivn.data.manifest.listing import list_clips
from ivn.media.decode import count_frames, decode
from tests.command import assert_one_line, command

pytest.importorskip("av")
CLIPS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "w"
    code, said, err = command(
        *("data", "render", "scenes", "--clips", CLIPS, "--out", out, "--seed", 5, "--workers", 2)
    )
    assert (code, err) == (0, "")
    assert said.startswith(f"{CLIPS} clips rendered")
    assert said.splitlines()[-1] == str(out / "manifest.parquet")
    return out


@pytest.fixture(scope="module")
def clips(world):
    return list_clips(world / "manifest.parquet")


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng(seed), 8, 64) for seed in range(CLIPS)]


def digests(folder):
    files = [file for file in folder.glob("0*/*") if file.suffix in (".mp4", ".npz")]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_every_clip_is_a_video_with_its_ground_truth_beside_it(clips):
    assert len(clips) == CLIPS and len({clip.group for clip in clips}) == CLIPS
    for clip in clips[:10]:
        assert count_frames(clip.path) == 8
        assert decode(clip.path, range).shape == (8, 64, 64, 3)
        assert set(clip.targets) == {"depth", "pose", "boxes"} and not clip.flip
        known = np.load(clip.targets["depth"], allow_pickle=False)
        assert (known["depth"].shape, known["depth"].dtype) == ((8, 64, 64), np.float16)
        assert known["pose"].shape == (8, 3)


def test_labels_name_every_class_of_a_world_that_is_large_enough(clips):
    for name, those in CLASSES.items():
        counts = Counter(clip.labels[name] for clip in clips)
        assert set(counts) == set(those), name


def test_any_number_of_workers_renders_the_same_and_another_seed_something_else(world, tmp_path):
    render(ScenesWorld(clips=CLIPS, seed=5), tmp_path / "w", workers=1)
    assert digests(tmp_path / "w") == digests(world) and len(digests(world)) == 2 * CLIPS
    render(ScenesWorld(clips=4, seed=6), tmp_path / "other", workers=1)
    assert not set(digests(tmp_path / "other").values()) & set(digests(world).values())


def test_a_longer_world_begins_with_the_clips_of_a_shorter_one(world, tmp_path):
    render(ScenesWorld(clips=3, seed=5), tmp_path / "w", workers=1)
    assert digests(tmp_path / "w").items() <= digests(world).items()


def test_a_stopped_rendering_goes_on_and_a_finished_one_is_kept(world, tmp_path):
    out = tmp_path / "w"
    asked = ScenesWorld(clips=6, seed=5)
    render(asked, out, workers=1)
    (out / "manifest.parquet").unlink()
    (out / "000" / "000004.mp4").unlink()
    (out / "000" / ".tmp-1-000004.mp4").write_bytes(b"cut off")
    again = render(asked, out, workers=1)
    assert (again.clips, again.kept) == (1, 5)
    assert digests(out).items() <= digests(world).items()
    assert not list(out.glob("**/.tmp-*"))
    code_line = assert_one_line(
        command("data", "render", "scenes", "--clips", 6, "--out", out), "is there already"
    )
    assert code_line == 1


def test_the_picture_moves_against_the_camera(scenes):
    """The ground, moved by what the positions say, is the next frame."""
    seen = 0
    for scene in scenes:
        right, down, forward = CAMERA[scene.classes.camera]
        step = np.diff(scene.poses[:, :2], axis=0)
        if forward:
            assert (np.diff(scene.poses[:, 2]) * forward < 0).all() and not step.any()
            continue
        assert (step @ (right, down) > 0.5).all() and (scene.poses[:, 2] == 1).all()
        frames = scene.frames.astype(float)
        x, y = (scene.poses[7, :2] - scene.poses[3, :2]).round().astype(int).tolist()
        inner = np.s_[24:40, 24:40]

        def difference(x, y, frames=frames, inner=inner):
            return np.abs(np.roll(frames[7], (y, x), (0, 1))[inner] - frames[3][inner]).mean()

        # Objects are nearer and move more: most of the ground still agrees.
        seen += difference(x, y) < min(difference(-x, -y), difference(0, 0))
    pans = sum(not CAMERA[scene.classes.camera][2] for scene in scenes)
    assert seen > 0.85 * pans


def test_boxes_hold_the_objects_where_the_depth_says(scenes):
    for scene in scenes[:20]:
        for frame in range(8):
            near = scene.depth[frame] < scene.depth[frame].max() - 0.1
            boxes = scene.boxes[scene.box_frame == frame]
            inside = np.zeros((64, 64), bool)
            for left, top, right, bottom in boxes:
                assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
                inside[top:bottom, left:right] = True
            assert near.any() and not (near & ~inside).any()


def test_one_object_moves_over_the_ground_as_its_label_says(scenes):
    for scene in scenes:
        moves = scene.box_object == scene.box_object.max()
        x, y, _ = CAMERA[scene.classes.object_motion]
        step = np.diff(scene.box_position[moves][:, :2], axis=0)
        frames = np.diff(scene.box_frame[moves])
        assert (step @ (x, y) > 0.5 * frames).all()
        assert np.abs(step @ (-y, x)).max(initial=0) < 1e-4
        for number in range(scene.box_object.max()):
            assert not np.ptp(scene.box_position[scene.box_object == number], axis=0).any()


def test_the_speed_is_that_of_the_label(scenes):
    paths = {"slow": [], "fast": []}
    for scene in scenes:
        first, last = scene.poses[0], scene.poses[-1]
        path = max(np.hypot(*(last - first)[:2]) / 64, abs(last[2] - first[2]) / 2)
        paths[scene.classes.speed].append(path)
    assert min(paths["slow"]) > 0.1 and max(paths["slow"]) < 0.21
    assert min(paths["fast"]) > 0.23 and max(paths["fast"]) < 0.34


@pytest.mark.parametrize("family", TEXTURES)
def test_instances_of_a_texture_differ(family):
    drawn = [texture(np.random.default_rng(seed), family, 40, 9.0) for seed in range(3)]
    assert all(one.shape == (40, 40, 3) and one.dtype == np.uint8 for one in drawn)
    assert all(one.std(axis=(0, 1)).max() > 10 for one in drawn)
    assert not (drawn[0] == drawn[1]).all() and not (drawn[1] == drawn[2]).all()


def test_what_cannot_be_rendered_is_one_line(tmp_path):
    def refused(option, value, *words):
        given = {"--clips": 7, "--out": tmp_path / "new"} | {option: value}
        arguments = [word for pair in given.items() for word in pair]
        assert assert_one_line(command("data", "render", "scenes", *arguments), *words) == 2

    refused("--size", 65, "expected 32 to", "even")
    refused("--clips", 0, "0 clips")
    refused("--frames", 1, "2 to 10000")

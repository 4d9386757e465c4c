import math

import numpy as np
import pytest
import torch

from ivn.evaluate.tasks.motion import scenes
from ivn.evaluate.tasks.motion.clips import MOTIONS, choose_camera, clip_index, render
from ivn.evaluate.tasks.motion.scenes import (
    Picture,
    procedural_pictures,
    real_pictures,
    real_scenes,
)
from ivn.evaluate.tasks.motion.texture import textured
from ivn.keys import make_keys

FRAMES, SIZE = 8, 112
MIDDLE = FRAMES // 2


def picture_of(pixels: np.ndarray, number: int = 0) -> Picture:
    return Picture(pixels, "scene", "procedural", make_keys(0, 0, [number]))


def clips_of(picture: Picture) -> torch.Tensor:
    camera = choose_camera(picture, frames=FRAMES, size=SIZE)
    return render(picture, camera, frames=FRAMES, size=SIZE)[clip_index(FRAMES)]


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Every real scene once, and three drawn ones."""
    return [*real_pictures(1, seed=0), *procedural_pictures(3, seed=0)]


def test_every_camera_gives_one_clip_per_motion(pictures):
    clips = clips_of(pictures[0])
    assert clips.shape == (len(MOTIONS), FRAMES, SIZE, SIZE, 3) and clips.dtype == torch.uint8
    assert len(MOTIONS) == len(set(MOTIONS)) == 10


@pytest.mark.parametrize("frames", [7, 8])
def test_the_middle_frame_is_the_same_in_all_motions_and_no_other_is(frames):
    index = clip_index(frames)
    same = (index == index[:1]).all(0)
    assert same.nonzero().flatten().tolist() == [frames // 2]


def test_opposite_motions_show_the_same_frames_in_opposite_order(pictures):
    for picture in pictures:
        clips = clips_of(picture)
        for one, other in zip(clips[0::2], clips[1::2], strict=True):
            assert torch.equal(one[1:], other[1:].flip(0))
            assert not torch.equal(one, other)


def test_of_an_odd_number_of_frames_none_is_left_over():
    index = clip_index(7)
    assert torch.equal(index[0::2], index[1::2].flip(1))


def ramp(down: int, right: int) -> np.ndarray:
    """Brightness that grows by half a level a pixel, downwards or to the right."""
    y, x = np.mgrid[:256, :384]
    return np.repeat(((down * y + right * x) / 2).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("number", range(3))
def test_a_pan_moves_the_box_its_way_by_its_speed_per_frame(number):
    way = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
    for motion in ("right and down", "left and up", "right and up", "left and down"):
        one, _, other = motion.partition(" and ")
        way[motion] = tuple(
            (a + b) / math.sqrt(2) for a, b in zip(way[one], way[other], strict=True)
        )
    across, down = (picture_of(ramp(*which), number) for which in ((0, 1), (1, 0)))
    camera = choose_camera(across, frames=FRAMES, size=SIZE)
    index = clip_index(FRAMES)
    shown = {
        axis: render(picture, camera, frames=FRAMES, size=SIZE)[index].double().mean((2, 3, 4))
        for axis, picture in (("x", across), ("y", down))
    }
    a_frame = camera.speed * camera.side / 2  # levels
    for motion, (x, y) in way.items():
        row = MOTIONS.index(motion)
        for axis, part in (("x", x), ("y", y)):
            steps = shown[axis][row].diff()
            assert torch.allclose(steps, torch.full_like(steps, part * a_frame), atol=0.1), motion


def test_a_zoom_magnifies_about_the_middle_by_the_same_factor_a_frame():
    picture = picture_of(ramp(0, 1))
    camera = choose_camera(picture, frames=FRAMES, size=SIZE)
    clips = render(picture, camera, frames=FRAMES, size=SIZE)[clip_index(FRAMES)].double()
    for motion, sign in (("zoom in", -1), ("zoom out", 1)):
        clip = clips[MOTIONS.index(motion)]
        spread = clip.mean((1, 3)).std(1)  # of the columns: as wide as the window
        expected = spread[MIDDLE] * torch.exp(
            2 * sign * camera.speed * torch.arange(-MIDDLE, FRAMES - MIDDLE).double()
        )
        assert torch.allclose(spread, expected, rtol=0.01)
        assert (clip.mean((1, 2, 3)) - clip[MIDDLE].mean()).abs().max() < 0.5


def test_no_window_leaves_the_picture_or_has_to_be_enlarged():
    pixels = np.zeros((256, 342, 3), np.uint8)
    for number in range(200):
        picture = picture_of(pixels, number)
        camera = choose_camera(picture, frames=FRAMES, size=SIZE)
        assert 1.5 / 112 <= camera.speed <= 3 / 112
        for direction in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
            for time in range(-MIDDLE, MIDDLE + 1):
                left, top, right, bottom = camera.box(direction, time)
                assert left >= 0 and top >= 0 and right <= 342 and bottom <= 256
                assert right - left >= SIZE - 1e-9


def test_a_small_picture_is_refused():
    picture = picture_of(np.zeros((120, 384, 3), np.uint8))
    with pytest.raises(ValueError, match="the picture is 120 x 384, expected at least"):
        choose_camera(picture, frames=FRAMES, size=SIZE)


def test_of_all_places_one_with_texture_both_ways_is_looked_at():
    pixels = np.full((256, 384, 3), 128, np.uint8)
    pixels[:, 40:44] = 0  # a lone edge
    pixels[60:200:8, 250:350:8] = 255
    for number in range(5):
        camera = choose_camera(picture_of(pixels, number), frames=FRAMES, size=SIZE)
        assert abs(camera.x - 300) < 75


def test_the_clips_are_the_same_every_time(pictures):
    again = [*real_pictures(1, seed=0), *procedural_pictures(3, seed=0)]
    for one, other in zip(pictures, again, strict=True):
        assert torch.equal(clips_of(one), clips_of(other))
    assert any(
        not np.array_equal(one.pixels, other.pixels)
        for one, other in zip(pictures, real_pictures(1, seed=1), strict=False)
    )


def test_drawn_scenes_differ_and_have_both_shapes_and_grain():
    drawn = [textured(make_keys(0, 0, [number])) for number in range(8)]
    assert len({scene.tobytes() for scene in drawn}) == 8
    for scene in drawn:
        assert scene.shape == (256, 384, 3) and scene.dtype == np.uint8
        steps = np.abs(np.diff(scene.astype(int), axis=1)).max(2)
        # Without grain most of a shape's pixels are alike; without shapes nothing has an edge.
        assert (steps == 0).mean() < 0.3
        assert np.percentile(steps, 99) > 60


def test_clips_of_one_place_are_one_scene():
    places = real_scenes()
    assert sum(map(len, places.values())) == 27
    assert sorted(file.name for file in places["parking lot"]) == [
        "car-detection-1.mp4",
        "car-detection-2.mp4",
        "person-bicycle-car-detection.webm",
    ]
    found = [picture.scene for picture in real_pictures(2, seed=0)]
    assert found == [scene for scene in places for _ in range(2)]


def test_a_scene_with_several_files_gives_a_frame_of_each_in_turn(monkeypatch):
    read = []

    def decode(path, choose):
        read.append(path)
        assert 0 <= choose(50)[0] < 50
        return torch.zeros(1, 256, 384, 3, dtype=torch.uint8)

    monkeypatch.setattr(scenes, "decode", decode)
    assert len(list(real_pictures(3, seed=0))) == 3 * len(real_scenes())
    files = [path for path in read if path in real_scenes()["parking lot"]]
    assert files == real_scenes()["parking lot"]

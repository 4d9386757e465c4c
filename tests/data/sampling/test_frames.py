import pytest
import torch

from ivn.data.sampling.frames import centre_frame_numbers, frame_numbers
from ivn.keys import make_keys


def draws(total, frames, count=1000, **options):
    keys = make_keys(3, 0, torch.arange(count))
    return torch.tensor([frame_numbers(total, frames, key[None], **options) for key in keys])


def assert_uniform(values, high):
    """Each of ``high`` values as often as the others, within five standard deviations."""
    share = torch.bincount(values, minlength=high).double() / len(values)
    deviation = (1 / high * (1 - 1 / high) / len(values)) ** 0.5
    assert (share - 1 / high).abs().max() <= 5 * deviation


@pytest.mark.parametrize(("total", "frames"), [(32, 8), (37, 8), (8, 8), (5, 1)])
def test_each_segment_gives_one_uniform_frame_and_all_frames_are_reached(total, frames):
    numbers = draws(total, frames)
    edges = [segment * total // frames for segment in range(frames + 1)]
    for segment in range(frames):
        within = numbers[:, segment] - edges[segment]
        length = edges[segment + 1] - edges[segment]
        assert within.min() >= 0
        assert_uniform(within, length)
    assert numbers.unique().tolist() == list(range(total))


def test_segments_draw_independently():
    numbers = draws(64, 8).double() % 8
    correlation = torch.corrcoef(numbers.T) - torch.eye(8)
    assert correlation.abs().max() < 5 / 1000**0.5


def test_a_short_video_gives_sorted_repeats_of_all_its_frames():
    numbers = draws(3, 8)
    assert (numbers.diff(dim=1) >= 0).all()
    assert_uniform(numbers.flatten(), 3)


def test_released_offsets_are_one_less_and_begin_at_the_last_frame():
    released, correct = draws(32, 8, offsets="released"), draws(32, 8)
    assert torch.equal(released, correct - 1)
    assert released.min() == -1


def test_released_segments_leave_out_the_remainder_and_short_videos_are_one_frame():
    assert draws(39, 8, offsets="released").max() == 30
    assert (draws(5, 8, offsets="released") == -1).all()


def test_numbers_follow_the_key_alone():
    key, other = make_keys(3, 0, [5, 6]).split(1)
    assert frame_numbers(300, 8, key) == frame_numbers(300, 8, key)
    assert frame_numbers(300, 8, key) != frame_numbers(300, 8, other)


def test_the_centre_takes_the_middle_of_each_segment():
    assert centre_frame_numbers(32, 4) == [4, 12, 20, 28]
    assert centre_frame_numbers(1, 4) == [0, 0, 0, 0]
    assert centre_frame_numbers(4, 4) == [0, 1, 2, 3]


def test_an_empty_video_is_an_error():
    with pytest.raises(ValueError, match="8 frames of a video of 0"):
        centre_frame_numbers(0, 8)

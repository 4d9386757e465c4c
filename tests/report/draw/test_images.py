"""Pixels keep their places and their order."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ivn.report.draw.images import FRAMES, SIDE, heat, heat_colours, strip_uri, thumbnail


def pixels_of(uri):
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    )


def test_a_map_of_tokens_is_stored_exactly_frame_beside_frame():
    film = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    uri, count = strip_uri(film)
    assert count == 3
    np.testing.assert_array_equal(pixels_of(uri), np.concatenate(list(film), axis=1))


def test_long_and_large_films_are_bounded_and_keep_first_and_last():
    film = np.zeros((40, 448, 224, 3), np.uint8)
    film[0], film[-1] = 250, 120
    uri, count = strip_uri(film)
    strip = pixels_of(uri)
    assert count == FRAMES and strip.shape == (SIDE, FRAMES * SIDE // 2, 3)
    middles = strip[SIDE // 2, SIDE // 4 :: SIDE // 2, 0].astype(int)
    assert abs(middles - [250, *[0] * (FRAMES - 2), 120]).max() < 4
    assert thumbnail(film[0]).shape == (80, 40, 3)


def test_heat_is_brightest_where_attention_is():
    frames = np.full((2, 56, 56, 3), 90, np.uint8)
    values = np.zeros((2, 4, 4), np.float32)
    values[0, 1, 2], values[1, 3, 0] = 1, 1
    warm = heat(frames, values).astype(int).sum(3)
    for t, y, x in ((0, 1, 2), (1, 3, 0)):
        at = np.unravel_index(warm[t].argmax(), warm[t].shape)
        assert (at[0] // 14, at[1] // 14) == (y, x)


def test_colours_rise_with_values_and_need_no_spread():
    brightness = heat_colours(np.linspace(0, 1, 50)).astype(int).sum(1)
    assert (np.diff(brightness) >= 0).all()
    np.testing.assert_array_equal(
        heat_colours(np.linspace(5, 6, 50))[[0, -1]].sum(1), brightness[[0, -1]]
    )
    assert len(np.unique(heat_colours(np.ones((3, 3))).reshape(-1, 3), axis=0)) == 1


def test_what_is_no_film_is_refused():
    with pytest.raises(ValueError, match=r"film is float64 \[2, 8, 8, 3\], expected uint8"):
        strip_uri(np.zeros((2, 8, 8, 3)))

"""Any text can be drawn, and two texts that differ look different."""

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ivn.report.draw.lettering import cut_short, readable, width, write


def test_what_would_change_the_rest_of_a_line_is_written_out():
    assert readable("a\nb\tc\x00\x7f") == "a\\nb\\tc\\x00\\x7f"
    assert readable("\u202egpj.mp4") == "\\u202egpj.mp4"
    assert readable("\u200b\u2028\udcff\ue000") == "\\u200b\\u2028\\udcff\\ue000"
    assert readable("plain name-1_2.mp4") == "plain name-1_2.mp4"
    assert readable("é ß ñ") == "é ß ñ"


def test_what_no_font_has_is_written_out():
    assert readable("\U0001e800") == "\\U0001e800"


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_cut_to_a_width_and_drawn(text):
    short = cut_short(readable(text), 13, 150)
    assert width(short, 13) <= 150
    write(ImageDraw.Draw(Image.new("RGB", (150, 20))), (0, 0), short, 13, (0, 0, 0))


def test_a_long_name_keeps_its_beginning_and_end():
    short = cut_short("beginning" + "x" * 200 + "end.mp4", 13, 200)
    assert short.startswith("beginning") and short.endswith("end.mp4") and "..." in short
    assert cut_short("short.mp4", 13, 200) == "short.mp4"

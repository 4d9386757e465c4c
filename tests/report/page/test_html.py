"""Text stays text."""

import pytest

from ivn.report.page.html import Html, join, tag, text


@pytest.mark.parametrize("hostile", ["<b>", "a & b", '" onload="x', "' x='", "</script>", "\0"])
def test_no_text_becomes_markup(hostile):
    inside = tag("p", {"title": hostile}, hostile)
    assert [inside.count(mark) for mark in "<>\"'\0"] == [2, 2, 2, 0, 0]


def test_markup_is_kept_and_joined():
    bold = tag("b", {}, "x")
    assert tag("p", {"hidden": "", "id": None}, bold, " & ") == "<p hidden><b>x</b> &amp; </p>"
    assert join([bold, "<"]) == "<b>x</b>&lt;"
    assert isinstance(text(bold), Html) and text(bold) is bold


def test_names_that_are_no_text_can_be_written_down():
    assert text(b"clip-\xff.mp4".decode("utf-8", "surrogateescape")).encode() == b"clip-\\udcff.mp4"

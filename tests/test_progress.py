"""One bar for all commands: on a terminal alone, with counts and a note."""

import io

import pytest

from ivn import progress
from ivn.progress import bars, output, tracked

console = pytest.importorskip("rich.console")


def terminal():
    return console.Console(file=io.StringIO(), force_terminal=True, width=100)


def test_a_bar_shows_what_is_done_of_how_much_and_a_note():
    screen = terminal()
    with bars(screen) as shown:
        bar = shown.add("videos", total=None, done=1)
        bar.update(3, "1 unusable", total=4)
        shown.add("pairs", total=2).advance()
    drawn = screen.file.getvalue()
    for text in ("videos", "3/4", "1 unusable", "pairs", "1/2"):
        assert text in drawn


def test_nothing_is_drawn_where_nobody_sees_it(capsys):
    with bars(output()) as shown:
        shown.add("videos", total=3).update(2, "note")
    assert list(tracked("abc", "letters", 3, errors=True)) == ["a", "b", "c"]
    assert list(tracked("abc", "letters", 0)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_items_are_counted_when_they_have_been_used(monkeypatch):
    screen = terminal()
    monkeypatch.setattr(progress, "output", lambda **_: screen)
    assert list(tracked("abc", "letters", 3)) == ["a", "b", "c"]
    assert "letters" in screen.file.getvalue() and "3/3" in screen.file.getvalue()


def test_lines_are_printed_as_they_are(capsys):
    output().print("x" * 300, markup=False)
    output(errors=True).print("[bold]told[/]", markup=False)
    assert capsys.readouterr() == ("x" * 300 + "\n", "[bold]told[/]\n")

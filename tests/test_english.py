"""Docstrings are made of sentences and noun phrases."""

import pytest

from tests import english


def fragments(source: str) -> list[tuple[int, str]]:
    return [(s.line, s.text) for s in english.sentences("a.py", source) if s.is_fragment]


def function(*lines: str) -> str:
    return 'def function():\n    """{}\n    """\n'.format(
        "\n    ".join(lines).replace("\n    \n", "\n\n")
    )


@pytest.mark.parametrize(
    "word", ["of", "that", "by", "whose", "which", "what", "to", "for", "where", "as", "That"]
)
@pytest.mark.parametrize("section", ["Args", "Attributes", "Raises"])
def test_entries_that_need_their_name_are_fragments(section, word):
    entry = f"seconds: {word} a file may take."
    source = function("Reads a file.", "", f"{section}:", "    path: the file.", f"    {entry}")
    assert fragments(source) == [(6, entry)]


@pytest.mark.parametrize("text", ["Of the features, one a clip.", "features: of the clips."])
def test_returns_that_begin_with_a_preposition_are_fragments(text):
    source = function("Reads a file.", "", "Returns:", f"    {text}", "    of two lines.")
    assert fragments(source) == [(5, text)]


def test_an_entry_that_begins_on_its_second_line_is_read():
    source = function("Reads a file.", "", "Args:", "    seconds:", "        that a file may take.")
    assert fragments(source) == [(5, "seconds:")]


@pytest.mark.parametrize("line", ["What is read.", "Of a file.", "This function reads a file."])
def test_first_lines_that_are_no_sentence_are_fragments(line):
    assert fragments(f'"""{line}"""') == [(1, line)]
    assert fragments(f'class File:\n    """{line}\n\n    More."""') == [(2, line)]


def test_sentences_and_noun_phrases_pass():
    source = function(
        "Reads a file, whose name is given.",
        "",
        "Of two files the first is read: what follows is a paragraph.",
        "",
        "Args:",
        "    seconds: time limit per file,",
        "        of which there may be many,",
        "        decode: that of a file.",
        "    tokens, index (optional): formats differ.",
        "",
        "Returns:",
        "    The frames,",
        "    as uint8.",
        "",
        "Example:",
        "    to: that",
    )
    assert not fragments(source)
    assert sum(s.is_entry for s in english.sentences("a.py", source)) == 3


def test_lint_fails_with_the_line_of_a_fragment(monkeypatch, capsys, tmp_path):
    (tmp_path / "ivn").mkdir()
    (tmp_path / "ivn" / "a.py").write_text(function("What is read."))
    monkeypatch.setattr(english, "ROOT", tmp_path)
    assert english.main() == 1
    printed = capsys.readouterr().out
    assert "ivn/a.py:2: What is read." in printed
    assert "1 of 1 first lines are fragments (100.0%)" in printed


def test_no_docstring_has_a_fragment(capsys):
    assert english.main() == 0, capsys.readouterr().out

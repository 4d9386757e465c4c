"""What the documents say of the program is so."""

import ast
import re
import shlex

import pytest

from ivn.data.manifest.listing import list_clips
from tests.command import command
from tests.media.videos import noise, write_mp4
from tests.processes import ROOT

pytest.importorskip("av")
DOCS = ROOT / "docs"


def blocks(document, language):
    """The contents of its code blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / document).read_text(), re.M | re.S)
    return [text for name, text in found if name == language]


@pytest.mark.slow
def test_every_command_and_the_code_of_the_quickstart_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos" / "more").mkdir(parents=True)
    for number in range(8):
        write_mp4(tmp_path / "videos" / "more" / f"{number}.mp4", noise(8))
    commands = [
        line
        for block in blocks("quickstart.md", "sh")
        for line in block.splitlines()
        if line.startswith("ivn ")
    ]
    assert len([line for line in commands if "pretrain" in line]) >= 5
    for line in commands:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "pretrain" and "--resume" not in arguments:
            arguments += ["--set", "optim.steps=2", "optim.batch_size=2", "efficiency.workers=0"]
        code, _, err = command(*arguments)
        assert (code, err) == (0, ""), line
    code = "".join(blocks("quickstart.md", "python"))
    space = {}
    exec(code, space)
    assert space["tokens"].shape == (1, 8 * 64, 192)
    assert space["features"].shape == (1, 192)
    assert space["vectors"].shape == (8, 192)


def test_lists_of_the_quickstart_are_read(tmp_path):
    (text,) = (block for block in blocks("quickstart.md", "") if block.startswith("clips/"))
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    (tmp_path / "list.csv").write_text(text)
    assert [source.label for source in list_clips(tmp_path / "list.csv")] == [None, "3", None]


def texts_of_the_program():
    """Every string in the source, its parts joined and what is filled in written as …."""
    for file in (ROOT / "ivn").glob("**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_in_troubleshooting_is_one_of_the_programs():
    messages = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 20
    texts = set(texts_of_the_program())
    for message in messages:
        parts = message.split("…")
        pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
        assert any(pattern.search(text) for text in texts if all(part in text for part in parts)), (
            message
        )


def tables(text):
    """Each table outside code blocks: its rows as lists of cells, the line of dashes among them."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^ *\|.*\n?)+", text, re.MULTILINE):
        # On GitHub code spans, too, end at a pipe that is not escaped.
        yield [re.split(r"(?<!\\)\|", line.strip())[1:] for line in table.splitlines()]


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{d.name}" for d in DOCS.glob("*.md"))])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(document):
    for head, dashes, *rows in tables((ROOT / document).read_text()):
        assert all(re.fullmatch(r" *:?-+:? *", cell) for cell in dashes[:-1]), head
        for row in (head, dashes, *rows):
            assert (len(row), row[-1]) == (len(head), ""), row


def test_documents_link_to_what_there_is():
    for document in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
    readme = (ROOT / "README.md").read_text()
    for document in DOCS.glob("*.md"):
        assert f"(docs/{document.name})" in readme

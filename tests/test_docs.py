"""What the documents say of the program is so."""

import ast
import importlib
import re
import shlex

import pytest

from ivn.data.manifest.listing import list_clips
from tests.command import command
from tests.media.videos import noise, write_mp4
from tests.processes import ROOT

pytest.importorskip("av")
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]


def blocks(document, language):
    """The contents of its code blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / document).read_text(), re.M | re.S)
    return [text for name, text in found if name == language]


# Documents whose commands run in one folder, one after another; api.md takes their runs.
RUNNING = (
    *("quickstart.md", "guides/pretraining.md", "guides/features.md", "guides/data.md"),
    "guides/evaluation.md",
)


@pytest.mark.slow
def test_every_command_and_the_code_of_quickstart_guides_and_api_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "videos" / "more").mkdir(parents=True)
    for number in range(8):
        write_mp4(tmp_path / "videos" / "more" / f"{number}.mp4", noise(8) // (1 + number))
    write_mp4(tmp_path / "new.mp4", noise(8))
    rows = (f"videos/more/{number}.mp4,{number % 2}\n" for number in range(8))
    (tmp_path / "clips.csv").write_text("".join(["path,label\n", *rows]))
    ran, found = set(), {}
    for document in (*RUNNING, "api.md"):
        lines = "".join(blocks(document, "sh")).splitlines()
        for line in lines:
            if line.startswith("ivn ") and line not in ran:
                ran.add(line)
                arguments = shlex.split(line)[1:]
                if arguments[0] == "pretrain" and "--resume" not in arguments:
                    small = ["optim.steps=2", "optim.batch_size=2", "efficiency.workers=0"]
                    arguments += ["--set", *small]
                code, _, err = command(*arguments)
                assert (code, err) == (0, ""), line
        exec("".join(blocks(document, "python")), space := {})
        found[document] = space
    assert len([line for line in ran if "pretrain" in line]) >= 5
    quickstart, features = found["quickstart.md"], found["guides/features.md"]
    assert quickstart["tokens"].shape == (1, 8 * 64, 192)
    assert quickstart["clip"].shape == (1, 768)
    assert features["features"].shape == (1, 192)
    assert features["vectors"].shape == (8, 192)
    assert 0 <= found["guides/evaluation.md"]["top1"].value <= 1
    assert found["api.md"]["rows"].shape == (2, 3, 592)


def test_the_readme_has_the_commands_of_a_fresh_machine_each_alone_in_a_block():
    """And .ci/run takes its own from there."""
    shown = [block.strip() for block in blocks("../README.md", "sh")]
    assert {"make demo", "make test"} <= set(shown)


def test_the_ten_lines_of_the_readme_work(capsys):
    exec("".join(blocks("../README.md", "python")), space := {})
    assert space["features"].shape == (8, 192)
    assert "nearest to asl-again.mp4: asl-" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["ivn", "ivn.ops"])
def test_api_md_has_every_public_name(module):
    names = importlib.import_module(module).__all__
    text = (DOCS / "api.md").read_text()
    heading = f"`{module}`\n"
    section = re.split("\n## ", text.partition(heading)[2])[0]
    for name in names:
        assert re.search(rf"`{name}[`(]", section), name


def test_lists_of_the_data_guide_are_read(tmp_path):
    (text,) = (block for block in blocks("guides/data.md", "") if block.startswith("clips/"))
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(document):
    for head, dashes, *rows in tables(document.read_text()):
        assert all(re.fullmatch(r" *:?-+:? *", cell) for cell in dashes[:-1]), head
        for row in (head, dashes, *rows):
            assert (len(row), row[-1]) == (len(head), ""), row


def anchors(document):
    """What links into a document may point at: its headings as GitHub spells them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_what_there_is(document):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        if anchor:
            assert anchor in set(anchors(linked)), target


def test_the_index_lists_every_document():
    index = (DOCS / "index.md").read_text()
    for document in DOCS.glob("**/*.md"):
        name = document.relative_to(DOCS).as_posix()
        assert name == "index.md" or f"({name})" in index, name

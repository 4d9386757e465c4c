"""docs/cli.md is made of the commands."""

import re
import shlex

import pytest

from ivn.cli.document import document, main
from ivn.options import flat
from tests.cli.listed import COMMANDS
from tests.command import command
from tests.processes import ROOT

PAGE = ROOT / "docs" / "cli.md"


def test_cli_md_is_up_to_date():
    """Otherwise: python -m ivn.cli.document docs/cli.md."""
    assert PAGE.read_text() == document()


def test_check_tells_a_page_that_differs(tmp_path, capsys):
    page = tmp_path / "cli.md"
    assert main([str(page)]) == 0
    assert page.read_text() == document()
    assert main([str(page), "--check"]) == 0
    page.write_text(document().replace("--seconds S", "--minutes S", 1))
    assert main([str(page), "--check"]) == 1
    said = capsys.readouterr().out
    assert said == f"{page} is not up to date: run python -m ivn.cli.document {page}\n"


def section(name):
    return re.split("\n##+ ", PAGE.read_text().partition(f"# ivn {name}\n")[2])[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_has_every_option_once(name):
    rows = re.findall(r"^\| (`.*?) \| ", section(name).replace("\\|", "/"), re.MULTILINE)
    shown = re.findall(r"--[a-z][a-z0-9-]*", " ".join(rows))
    known = [spec for spec in flat(COMMANDS[name].options) if not spec.look.positional]
    assert sorted(flag for flag in shown if not flag.startswith("--no-")) == sorted(
        spec.flag for spec in known
    )


def test_every_command_and_exit_code_has_its_place():
    text = PAGE.read_text()
    headings = re.findall(r"^##+ ivn ([\w ]+)$", text, re.MULTILINE)
    assert [name for name in headings if name in COMMANDS] == list(COMMANDS)
    codes = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert codes == ["0", "1", "2", "130", "143"]


def test_the_settings_that_it_shows_are_taken():
    lines = re.findall(r"^ivn config \S+ --set .*=.*$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        code, out, err = command(*shlex.split(line)[1:])
        assert (code, err) == (0, ""), line
        assert out != command("config", shlex.split(line)[2])[1]

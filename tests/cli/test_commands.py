"""Every command is one dataclass, and one function that takes it."""

import ast
import dataclasses
import re
import typing

import pytest

from ivn.cli.app import read
from ivn.cli.commands import IVN
from ivn.errors import UsageError
from ivn.options import flat
from tests.cli.listed import COMMANDS, GROUPS
from tests.command import assert_one_line, command
from tests.processes import ROOT, run_code


@pytest.mark.parametrize("name", COMMANDS)
def test_the_function_of_a_command_takes_its_options(name):
    one = COMMANDS[name]
    hints = typing.get_type_hints(one.load())
    assert hints.pop("return") is int
    assert list(hints.values()) == [one.options]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_where_it_is_written(name):
    cls = COMMANDS[name].options
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    for spec in flat(cls):
        assert spec.text.endswith("."), spec.field
        assert spec.look.metavar or spec.kind is bool or typing.get_args(spec.kind), spec.field


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_every_option_and_no_other(name):
    code, said, err = command(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"usage: ivn {name}" in said
    box = said.partition("\n│ -h, --help")[2].partition("\n╰")[0]
    shown = re.findall(r"--[a-z][a-z0-9-]*", " ".join(re.findall(r"^│ (-.*)$", box, re.M)))
    known = [spec for spec in flat(COMMANDS[name].options) if not spec.look.positional]
    pairs = [spec.flag.replace("--", "--no-", 1) for spec in known if spec.default is True]
    assert {*shown} == {spec.flag for spec in known} | {*pairs}


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_has_a_line_of_each_command(group):
    code, said, err = command(*group.split(), "--help")
    assert (code, err) == (0, "")
    names = list(GROUPS[group].commands)
    assert re.search(r"\{([\w,]+)\}", said)[1].split(",") == names
    assert re.findall(r"• (\w+)", said) == names


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_command_is_exit_code_2(group):
    code, said, err = command(*group.split())
    assert (code, said) == (2, "") and "Expected one of" in err


@pytest.mark.parametrize("words", [["--foo", "pretrain"], ["--", "pretrain"], ["data", "-x"]])
def test_an_option_before_the_command_is_exit_code_2(words):
    code, said, err = command(*words)
    assert (code, said) == (2, "") and "Unrecognized options" in err


def options(*words):
    return read(IVN, "ivn", words)[1]


def test_options_become_an_object_of_the_commands_own_class():
    found = options("data", "index", "a", "b", "-o", "m.parquet", "--no-probe", "--max-bad", "0.5")
    assert type(found) is COMMANDS["data index"].options
    assert (found.places, found.out, found.probe, found.hash) == (("a", "b"), "m.parquet", False, 0)
    assert (found.max_bad, found.seconds) == (0.5, 30.0)


def test_settings_of_several_groups_are_one_list():
    words = ["--set", "optim.lr=1", "data.seed=2", "--set", "optim.betas=[0.9, 0.95]"]
    found = options("config", "stage1-tiny", *words)
    assert found.settings == ("optim.lr=1", "data.seed=2", "optim.betas=[0.9, 0.95]")


def test_values_with_commas_become_a_tuple():
    found = options("evaluate", "classify", "--encoder", "a", "b", "--data", "c")
    assert (found.encoder, found.heads) == (("a", "b"), ("linear", "knn"))
    assert options("bench", "decode", "x", "--threads", "1,2").threads == (1, 2)
    with pytest.raises(UsageError, match="--threads is '1,b', expected whole numbers with commas"):
        options("bench", "decode", "x", "--threads", "1,b")


def test_sizes_of_an_encoder_are_options_of_the_command():
    one = options("predict", "v", "--head", "h", "--image-size", "28", "--num-heads", "3")
    assert one.sizes.given() == {"image_size": 28, "num_heads": 3}
    two = options("predict", "v", "--head", "h", "--image-size", "28", "56")
    assert two.sizes.given() == {"image_size": (28, 56)}


@pytest.mark.parametrize(
    ("words", "now"),
    [(["motion", "--encoder", "x"], "ivn evaluate motion"), ([], "ivn evaluate TASK")],
)
def test_probe_names_the_new_spelling(words, now):
    assert assert_one_line(command("probe", *words), f"is now {now}") == 2


@pytest.mark.parametrize("words", [["--help"], ["data", "index", "--help"], ["embed", "-h"]])
def test_help_loads_nothing_heavy(words):
    code = (
        f"import sys; from ivn.cli import main; sys.argv = ['ivn', *{words!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'torch', 'numpy', 'pyarrow', 'av', 'pydantic'} & set(sys.modules))"
    )
    assert run_code(code).splitlines()[-1] == "set()"


def test_only_the_command_line_imports_tyro():
    for room in ("ivn", "benchmarks", "kernels"):
        for file in (ROOT / room).glob("**/*.py"):
            names = {
                name
                for node in ast.walk(ast.parse(file.read_text()))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }
            in_cli = file.parent == ROOT / "ivn" / "cli"
            assert in_cli or not any(name.split(".")[0] == "tyro" for name in names), file

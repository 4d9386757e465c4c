"""Options are read without tyro, too: the benchmarks run where it is not installed."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from ivn.options import Option, Positional, Unset, flat, parse, specs
from tests.processes import run_code


@dataclass(frozen=True, kw_only=True)
class Base:
    """Share.

    Attributes:
        workers: number of processes,
            100% of the cores by default.
    """

    workers: Annotated[int, Unset("N")] = 0


@dataclass(frozen=True, kw_only=True)
class Sort(Base):
    """Sort files.

    Attributes:
        place: a folder.
        out: a file.
        sizes, more: numbers.
        kind: order of the files.
        deep: whether to go down.
    """

    kind: Literal["up", "down"] = "up"
    sizes: Annotated[tuple[int, ...], Option("N,...", commas=True)] = (1, 2)
    more: Annotated[float, Option("X")] = 0.5
    deep: bool = False
    out: Annotated[str, Option("FILE", short="-o")]
    place: Annotated[str, Positional("PLACE")]


def test_help_shows_places_then_what_is_required_then_own_options_then_shared_ones():
    names = [spec.field for spec in specs(Sort)]
    assert names == ["place", "out", "kind", "sizes", "more", "deep", "workers"]
    texts = {spec.field: spec.text for spec in flat(Sort)}
    assert texts["workers"] == "number of processes, 100% of the cores by default."
    assert texts["sizes"] == texts["more"] == "numbers."


@dataclass(frozen=True, kw_only=True)
class Merge(Base):
    """Merge files.

    Attributes:
        workers: number of threads.
    """

    workers: Annotated[int, Unset("N")] = 4
    kind: Literal["up", "down"] = "up"


def test_a_shared_option_keeps_its_place_with_another_default_and_text():
    kind, workers = specs(Merge)
    assert (kind.field, workers.default, workers.text) == ("kind", 4, "number of threads.")


def test_the_standard_library_reads_the_same_options():
    words = ["here", "-o", "x", "--sizes", "3,4", "--kind", "down", "--deep", "--workers", "2"]
    assert parse(Sort, words) == Sort(
        place="here", out="x", sizes=(3, 4), kind="down", deep=True, workers=2
    )
    assert parse(Sort, ["here", "--out", "x"]) == Sort(place="here", out="x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["here"], "--out"),
        (["--out", "x"], "PLACE"),
        (["here", "-o", "x", "--sizes", "1,b"], "--sizes is '1,b', expected whole numbers"),
        (["here", "-o", "x", "--kind", "left"], "--kind"),
        (["here", "-o", "x", "--more", "much"], "--more"),
    ],
)
def test_what_cannot_be_read_is_exit_code_2(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Sort, words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_help_of_the_standard_library_has_the_texts(capsys):
    with pytest.raises(SystemExit):
        parse(Sort, ["--help"])
    said = capsys.readouterr().out
    assert "Sort files." in said and "100% of the cores" in said


@pytest.mark.parametrize("script", ["ops.run", "decode.bench_decode"])
def test_benchmarks_that_are_commands_run_without_tyro(script):
    code = f"""
import runpy, sys
sys.modules |= dict.fromkeys(["tyro", "pydantic", "rich"])
sys.argv = ["script", "--help"]
runpy.run_module("ivn.benchmarks.{script}", run_name="__main__")
"""
    assert "--threads N" in run_code(code)

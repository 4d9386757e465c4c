"""A task that nothing of ivn has heard of, in one file, by one registration."""

import json
from dataclasses import dataclass
from typing import Annotated, get_origin, get_type_hints
from unittest import mock

import numpy as np
import pytest
import torch

from ivn.evaluate.command import cache_of, finish, listed, result_folder
from ivn.evaluate.features.extract import extract
from ivn.evaluate.features.views import grid
from ivn.evaluate.metrics import share
from ivn.evaluate.options import Evaluation
from ivn.evaluate.results import Facts, Result, ResultRow
from ivn.evaluate.splits import groups_of
from ivn.evaluate.subjects import subjects
from ivn.evaluate.table import result_table, score_columns
from ivn.evaluate.tasks import TASKS
from ivn.options import Command, Option, Unset
from tests.command import command
from tests.evaluate.commanded import labelled, result, write_list

pytest.importorskip("av")
pytest.importorskip("tyro")
pytestmark = pytest.mark.usefixtures("own_cache", "known")
NAME = "brightness"


@dataclass(frozen=True, kw_only=True)
class Brightness(Evaluation):
    """Measure how many videos have features above a level.
    $ ivn evaluate brightness --encoder RUN --data LIST

    Attributes:
        data: videos, as a list.
        level: smallest mean of the features.
    """

    data: Annotated[str, Option("LIST")]
    level: Annotated[float, Unset("SHARE")] = 0.0


def run(options):
    out = result_folder(NAME, options)
    sources = listed(options.data)
    frozen, baselines = subjects(options)
    encoders = [*frozen, *baselines]
    found = extract(
        [(encoder, ["mean"]) for encoder in encoders],
        sources,
        grid(1, 1),
        cache=cache_of(options),
        workers=options.workers,
    )
    groups = groups_of([sources[number] for number in found.kept])
    clips, rows = torch.arange(len(groups)), []
    for encoder, features in zip(encoders, found.features, strict=True):
        means = features["mean"].take(clips, torch.zeros_like(clips)).mean(1)
        above = share((means > options.level).numpy(), groups, seed=options.seed)
        rows.append(
            ResultRow(
                encoder.name, "none", {"far_above": above, "top5": None}, {}, encoder in baselines
            )
        )
    facts = {
        "n": len(groups),
        "groups": len(np.unique(groups)),
        "notes": ["a note to read"],
        "data": options.data,
        "chance": 0.125,
        "level": options.level,
    }
    made = Result(NAME, facts, rows, encoders, found.skipped)
    headings = {"far_above": "far above", "top5": "top-5"}
    table = result_table(made, [f"above {options.level}"], score_columns(rows, headings))
    return finish(made, table, out)


@pytest.fixture
def known():
    """The task is known while a test of this file runs, and to no other."""
    with mock.patch.dict(TASKS, {NAME: Command(Brightness, f"{__name__}:run")}):
        yield


def test_help_lists_it_and_its_options():
    code, said, _ = command("evaluate", "--help")
    assert code == 0 and "brightness" in said and "features above a level" in said
    code, said, _ = command("evaluate", NAME, "--help")
    assert code == 0 and "--level SHARE" in said and "--encoder E" in said
    code, said, err = command("evaluate", NAME, "--encoder", "raw")
    assert (code, said) == (2, "") and "--data LIST" in err


def test_it_prints_a_table_and_json_and_the_page_of_the_run_shows_it(
    run, patterns, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # a long name would be folded
    (tmp_path / "broken.mkv").write_text("no video")
    rows = [*labelled(patterns), (tmp_path / "broken.mkv", "a", "")]
    data = write_list(tmp_path / "l.csv", rows)
    for _ in range(2):
        code, said, err = command("evaluate", NAME, "--encoder", "run", "--data", data)
        assert code == 0 and err.count("\n") == 1 and "broken.mkv" in err
    note, level, unusable, head, *lines = said.splitlines()
    assert (note, level) == ("a note to read", "above 0.0")
    assert unusable == "1 videos could not be used"
    assert head.split() == ["encoder", "far", "above", "95%", "interval"]
    assert [line.split("  ")[0] for line in lines[:3]] == ["run", "run, random weights", "raw"]
    assert lines[2].split() == ["raw", "100.0%", "100.0%", "-", "100.0%"]
    folder = run / "probes" / f"{NAME}-2"
    assert lines[3] == f"result: {folder.relative_to(tmp_path)}"
    kept = json.loads((folder / "result.json").read_text())
    assert kept == json.loads(lines[-1]) and (folder.parent / NAME / "result.json").exists()
    assert (kept["task"], kept["n"], kept["level"]) == (NAME, 20, 0.0)
    assert [row["baseline"] for row in kept["rows"]] == [False, True, True]
    assert not (folder / "confusion.csv").exists()
    assert command("report", run)[0] == 0
    page = (run / "report.html").read_text("utf-8")
    for words in (f"run: {NAME}<", f"run: {NAME} ({NAME}-2)<", "a note to read", "far above"):
        assert words in page, words
    assert "20 clips in 20 groups, chance 12.5%" in page and "100.0%" in page


def test_a_result_without_what_every_task_gives_is_refused():
    with pytest.raises(ValueError, match="the result of brightness lacks groups, notes: see Facts"):
        Result(NAME, {"n": 1}, [], [])


@pytest.mark.parametrize("task", ["classify", "retrieve", "motion"])
def test_the_facts_of_each_task_are_of_the_types_that_are_documented(task, patterns, tmp_path):
    data = write_list(tmp_path / "l.csv", labelled(patterns))
    say = ["--encoder", "raw", "--frames", "2", "--size", "8", "--data", data]
    found = result(command("evaluate", task, *say, *(["--heads", "knn"] * (task == "classify"))))
    assert found["task"] == task
    assert Facts.__required_keys__ <= found.keys()
    for name in Facts.__annotations__.keys() & found.keys():
        kind = get_type_hints(Facts)[name]
        outer = get_origin(kind)
        assert isinstance(found[name], outer if outer in (list, dict) else kind), name

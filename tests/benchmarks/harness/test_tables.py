"""The documents' tables are what the committed results say."""

import json

import pytest

from ivn.benchmarks.harness.tables import DOCUMENTS, NOT_YET, TABLES, read, written
from tests.processes import ROOT

ABOUT = {"hardware": "Some GPU", "torch": "2.11", "commit": "abc"}


def cells(milliseconds: float) -> dict:
    return {
        "milliseconds": milliseconds,
        "GB/s": 1000.0,
        "of_copy": 0.9 / milliseconds,
        "microseconds_above_empty": 3.0,
    }


def ops() -> dict:
    found = {"ours": cells(1.0), "eager": cells(2.5), "index_select": cells(1.25)}
    row = {"case": "gather_tokens, base", "shape": "2 x 3", "direction": "forward", "wrong": {}}
    failed = row | {"case": "gather_tokens, huge", "wrong": {"all": "no room"}}
    rows = [row | {"implementations": found}, failed | {"implementations": {}}]
    return ABOUT | {"dtype": "bfloat16", "rows": rows}


def step() -> dict:
    times = {"teacher": 29.0, "mask": 1.0, "backward": 10.0, "step": 40.0}
    share = {"teacher": 0.725, "mask": 0.025, "backward": 0.25}
    return ABOUT | {
        "preset": "stage1-base",
        "batch": 4,
        "dtype": "bfloat16",
        "profile": {"milliseconds": times, "share": share},
        "reference": {"times_as_fast": {"without teacher": 1.3}},
    }


def test_operations_measured_apart_are_one_table(tmp_path):
    (tmp_path / "h100").mkdir()
    for noun in ("tokens", "norm"):
        row = {"noun": noun, "case": noun, "wrong": {}, "implementations": {}}
        text = json.dumps(ABOUT | {"dtype": "bfloat16", "rows": [row]})
        (tmp_path / f"h100/ops-{noun}.json").write_text(text)
    found = read(tmp_path)["h100"]
    assert found.keys() == {"ops"} and found["ops"]["hardware"] == "Some GPU"
    assert [row["noun"] for row in found["ops"]["rows"]] == ["norm", "tokens"]
    (tmp_path / "h100/ops-norm.json").write_text(text.replace("abc", "abd"))
    with pytest.raises(ValueError, match="differ in hardware, torch"):
        read(tmp_path)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_say_what_the_results_say(name):
    text = (ROOT / name).read_text()
    assert written(text, read(ROOT / "benchmarks" / "results")) == text, (
        "python benchmarks/harness/tables.py"
    )


def test_every_table_stands_in_a_document():
    text = "".join((ROOT / name).read_text() for name in DOCUMENTS)
    assert all(f"<!-- {name} -->" in text for name in TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_made_up_of_what_was_not_measured(name):
    assert set(TABLES[name]({}).split("\n\n")) == {NOT_YET}


@pytest.mark.parametrize(
    ("name", "machine", "expected"),
    [
        ("cpu operations", "cpu", "| 90% | eager 2.50, index_select 1.25 |"),
        ("cpu operations", "cpu", "not timed: gather_tokens, huge forward (no room)."),
        ("cpu profile", "cpu", "| teacher | 29.0 ms, 72.5% |"),
        ("cpu profile", "cpu", "| mask | *1.0 ms, 2.5%* |"),
        ("cpu reference", "cpu", "| without teacher | 1.30 |"),
        ("gpu operations", "h100", "| 1.0000 | 1000 | 90% | 3.0 | 2.50 |  | index_select 1.25 |"),
        ("gpu operations", "h100", "not timed: gather_tokens, huge forward (no room)."),
        ("gpu summary", "h100", "not timed: gather_tokens, huge forward (no room)."),
        ("gpu summary", "h100", "| gather_tokens, base | forward | 90% | 2.50 x |  |"),
        ("gpu profile", "h100", "| stage1-base | 4 clips, bfloat16 | without teacher | 1.30 |"),
    ],
)
def test_results_become_rows(name, machine, expected):
    text = f"before\n<!-- {name} -->\nold\n<!-- end -->\nafter\n"
    made = written(text, {machine: {"ops": ops(), "step-stage1-base": step()}})
    assert expected in made and "old" not in made
    assert made.startswith("before\n") and made.endswith("<!-- end -->\nafter\n")
    # A CPU's results are not told as a GPU's, nor the other way round.
    other = "cpu" if machine != "cpu" else "h100"
    assert expected not in written(text, {other: {"ops": ops(), "step-stage1-base": step()}})

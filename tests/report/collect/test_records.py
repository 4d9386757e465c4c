"""Logs, names and lists of clips as they are on disks."""

import json
from pathlib import Path

import pytest

from ivn.config.presets import PRESETS
from ivn.config.run import to_toml
from ivn.media.source import Source
from ivn.report.collect.clips import names_of, spread
from ivn.report.collect.names import run_names, short_names
from ivn.report.collect.records import read_run


def run_with(place, log):
    place.mkdir()
    (place / "config.toml").write_text("name = 3")
    (place / "run.json").write_text("{}")
    (place / "log.jsonl").write_bytes(log)
    return read_run(place)[0]


def test_every_finite_number_of_a_log_is_a_curve(tmp_path):
    lines = [
        {"step": 2, "loss": 3.0, "terms": {"a": 1}, "health": {"grad_norm": {"encoder": 0.5}}},
        {"step": 1, "loss": None, "epoch": 1.0, "skipped": True, "lr": 0.0},
        {"step": 2, "loss": 4.0, "terms": {"a": float("nan")}},
    ]
    log = "".join(json.dumps(line) + "\n" for line in lines).encode()
    found = run_with(tmp_path / "run", log + b"\xff\xfe\n" + log[:20]).log
    assert {name: (s.steps, s.values) for name, s in found.series.items()} == {
        "loss": ([2], [4.0]),
        "lr": ([1], [0.0]),
    }
    assert (found.last_step, found.skipped) == (2, 1)


def test_unusable_files_and_warnings_are_counted(tmp_path):
    lost = {"path": "a.mp4", "reason": "no frame", "by": "b.mp4"}
    lines = [{"step": s, "replacements": [lost, lost], "warning": "careful"} for s in (1, 2)]
    log = "".join(json.dumps(line) + "\n" for line in lines).encode()
    found = run_with(tmp_path / "run", log).log
    assert dict(found.replaced) == {("a.mp4", "no frame"): 4}
    assert found.warnings == [(1, "careful"), (2, "careful")]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/run", "b/other"], ["run", "other"]),
        (["a/run", "b/run"], ["a/run", "b/run"]),
        (["a/run", "b/run", "b/other"], ["a/run", "b/run", "b/other"]),
        (["a/run", "a/run"], ["run #1", "run #2"]),
    ],
)
def test_runs_have_different_names(paths, names):
    assert run_names([Path("/x") / path for path in paths]) == names


def test_clips_are_spread_over_the_list_and_all_are_there():
    sources = [Source(str(i)) for i in range(10)]
    order = [int(source.path) for source in spread(sources, 4)]
    assert order[:4] == [0, 2, 5, 7] and sorted(order) == list(range(10))
    assert [source.path for source in spread(sources[:3], 24)] == ["0", "1", "2"]


def test_a_clip_is_named_with_its_window_and_label():
    assert names_of([Source("/far/away/a.mp4")]) == ["a.mp4"]
    assert names_of(
        [Source("a.mp4", "walk", 1.5, 3.0), Source("a.mp4", start=2.0), Source("a.mp4", start=2.0)]
    ) == ["a.mp4 [1.5 to 3 s] (walk)", *["a.mp4 [2 to end s]"] * 2]


def test_clips_with_one_name_show_what_of_their_paths_differs():
    files = [Source(f"/data/{folder}/1.mp4") for folder in ("run", "walk")]
    assert names_of(files) == ["run/1.mp4", "walk/1.mp4"]
    assert short_names([Path("/a/1.mp4"), Path("/b/1.mp4")], ["", " (x)"]) == ["1.mp4", "1.mp4 (x)"]


def test_times_that_no_training_took_are_not_told(tmp_path):
    lines = [{"step": 1, "clips_per_s": 1e-310, "wait_share": 0.5}]
    lines.append({"step": 2, "clips_per_s": 1.0, "wait_share": 1e300})
    place = tmp_path / "run"
    place.mkdir()
    (place / "config.toml").write_text(to_toml(PRESETS["stage1-tiny"]()))
    (place / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = read_run(place)[0]
    assert run.log is not None and run.seconds_per_step is None

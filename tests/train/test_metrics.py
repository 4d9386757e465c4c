import json

import pytest
import torch

from ivn.data.batch import Replacement
from ivn.train.metrics import Log, StepRecord, StepWindow


def line(step, loss=0.5):
    return {"step": step, "loss": loss, "terms": {"pixels": loss}}


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    Log(path, after_step=0).write([line(step) for step in range(1, 8)])
    Log(path, after_step=4).write([line(5, 0.25)])
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 2, 3, 4, 5]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 0.25


@pytest.mark.parametrize("rest", ['{"step": 3, "lo', "\0\0\0\n", "{}\n"])
def test_a_line_that_was_cut_off_is_dropped(tmp_path, rest):
    path = tmp_path / "log.jsonl"
    Log(path, after_step=0).write([line(1), line(2)])
    with path.open("a") as file:
        file.write(rest)
    Log(path, after_step=9).write([line(3)])
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 2, 3]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    log = Log(tmp_path / "log.jsonl", after_step=0)
    log.write([line(1, float("nan")), line(2, float("inf"))])
    lines = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(one["loss"], one["terms"]["pixels"]) for one in lines] == [(None, None)] * 2


def test_a_fetch_gives_each_step_once():
    window = StepWindow(["pixels", "layers"], 8)
    broken = Replacement("a.mp4", "empty", "b.mp4")
    window.add(StepRecord(1, torch.tensor([1, 0.75, 2, 0.5, 0.25]).double(), 1e-3, 0.5))
    window.add(StepRecord(2, torch.tensor([0, torch.nan, 2, 1, 0]).double(), 2e-3, 1.0, [broken]))
    first, second = window.fetch()
    assert first["terms"] == {"pixels": 0.5, "layers": 0.25}
    assert (first["loss"], first["grad_norm"], first["lr"], first["epoch"]) == (0.75, 2, 1e-3, 0.5)
    assert (first["skipped"], second["skipped"]) == (False, True)
    assert (first["replaced"], second["replaced"]) == (0, 1)
    assert second["replacements"] == [{"path": "a.mp4", "reason": "empty", "by": "b.mp4"}]
    assert window.fetch() == []


def test_speed_and_waiting_are_of_the_steps_fetched(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("ivn.train.metrics.time.perf_counter", lambda: now[0])
    window = StepWindow(["pixels"], 8)
    window.wait_seconds += 1.0
    for step in (1, 2):
        window.add(StepRecord(step, torch.ones(4).double(), 1e-3, 0.5))
    now[0] = 104.0
    assert [(one["clips_per_s"], one["wait_share"]) for one in window.fetch()] == [(4.0, 0.25)] * 2
    window.add(StepRecord(3, torch.ones(4).double(), 1e-3, 0.5))
    now[0] = 105.0
    assert [(one["clips_per_s"], one["wait_share"]) for one in window.fetch()] == [(8.0, 0.0)]

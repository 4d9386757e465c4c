import sys
import threading
import time

import pytest

from ivn.errors import LogError, RunError
from ivn.train import board, folder
from ivn.train.board import Board
from ivn.train.settings import RunConfig
from tests.logged import log

from .test_loop import DyingLoader, Killed
from .toy import ToyLoader, train

RUN = RunConfig(log_every=3, save_every=4, tensorboard=True)


@pytest.fixture(scope="module")
def accumulator():
    """Reads a folder of event files back, as TensorBoard does."""
    return pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(accumulator, path):
    """Tag -> [(step, value), ...]."""
    events = accumulator.EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_a_run_cut_off_shows_each_step_once_as_the_log_has_it(tmp_path, accumulator):
    for last in (6, 6, 11):  # the second is cut off before it has a checkpoint of its own
        with pytest.raises(Killed):
            train(tmp_path, loader=DyingLoader(last), run=RUN)
    train(tmp_path, loader=ToyLoader(broken=(13,)), run=RUN)
    shown = read(accumulator, tmp_path / folder.BOARD)
    lines = log(tmp_path)
    for tag in ("loss", "lr", "grad_norm", "clips_per_s", "wait_share", "skipped", "replaced"):
        assert shown[tag] == [(line["step"], pytest.approx(float(line[tag]))) for line in lines]
    for term in ("squared", "absolute"):
        expected = [(line["step"], pytest.approx(line["terms"][term])) for line in lines]
        assert shown[f"terms/{term}"] == expected
    health = [(line["step"], line["health"]) for line in lines if "health" in line]
    for tag in ("feature_std", "effective_rank"):
        expected = [(step, pytest.approx(found[tag])) for step, found in health]
        assert shown[f"health/{tag}"] == expected
    for table in ("grad_norm", "update_norm"):
        expected = [(step, pytest.approx(found[table]["decoder"])) for step, found in health]
        assert shown[f"health/{table}/decoder"] == expected
    assert [step for step, value in shown["replaced"] if value] == [14]
    assert "step" not in shown


def test_a_run_that_was_not_asked_writes_none(tmp_path):
    train(tmp_path)
    assert not (tmp_path / folder.BOARD).exists()


def test_a_checkpoint_hands_over_what_was_written(tmp_path, accumulator, monkeypatch):
    from tensorboard.summary.writer.record_writer import RecordWriter

    sizes = []
    original, write = Board.sync, RecordWriter.write

    def slow(self, record):
        time.sleep(0.002)
        write(self, record)

    def sync(self):
        original(self)
        sizes.append(len(read(accumulator, tmp_path / folder.BOARD)["replaced"]))

    monkeypatch.setattr(RecordWriter, "write", slow)
    monkeypatch.setattr(Board, "sync", sync)
    train(tmp_path, run=RunConfig(log_every=30, save_every=10, tensorboard=True))
    assert sizes[:3] == [10, 20, 30]


def test_without_tensorboard_it_is_named_and_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(RunError, match=r'pip install "ivn\[tensorboard\]"') as caught:
        board.check_installed()
    assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match="not installed"):
        train(tmp_path, run=RUN)
    assert not (tmp_path / folder.BOARD).exists()


def test_errors_of_its_thread_are_told_once(tmp_path, accumulator, capsys):
    """A full disk is met by the writer's own thread."""
    hook = threading.excepthook
    writer = Board(tmp_path / "board", after_step=0)
    writer.sync()
    for file in (tmp_path / "board").iterdir():
        file.unlink()
    (tmp_path / "board").rmdir()
    with pytest.raises(LogError, match=r"board could not be written \(no such file"):
        for step in range(1000):
            writer.write([{"step": step, "loss": 0.5}])
            writer.sync()
    writer.close()
    assert capsys.readouterr().err == ""
    assert threading.excepthook is hook

import shutil
import signal

import pytest
import torch

from ivn.durable import TEMPORARY
from ivn.errors import DataError, FolderInUseError, NotFiniteError, ReplacedError, RunError
from ivn.train import checkpoint, folder
from ivn.train.optimizer import OptimConfig
from ivn.train.settings import EfficiencyConfig, RunConfig
from tests.logged import log, results

from .toy import BATCH, CLIPS, OPTIM, Term, ToyLoader, ToyStage, train

STEPS = 30


def plain(state):
    """The tensors of a stage's or an optimiser's state."""
    return state.get("state", state)


class Killed(BaseException):
    """Ends the loop here, as a kill would: nothing catches it."""


class DyingLoader(ToyLoader):
    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def __next__(self):
        if self.step == self.last:
            raise Killed
        return super().__next__()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has disturbed."""
    run = tmp_path_factory.mktemp("whole")
    assert train(run) == 0
    return run


def test_the_loss_falls(whole):
    losses = [line["loss"] for line in log(whole)]
    assert len(losses) == STEPS
    assert losses[-1] < 0.9 * losses[0]


def test_the_log_has_each_step_once_with_all_it_promises(whole):
    lines = log(whole)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[-1]["epoch"] == 10
    for line in lines:
        terms = line["terms"]
        assert line["loss"] == pytest.approx(terms["squared"] + 0.5 * terms["absolute"])
        assert line["clips_per_s"] > 0
        assert 0 <= line["wait_share"] <= 1


@pytest.mark.parametrize("last", [1, 4, 5, 13, 29])
def test_a_run_cut_off_anywhere_goes_on_bit_for_bit(whole, tmp_path, last):
    with pytest.raises(Killed):
        train(tmp_path, loader=DyingLoader(last))
    assert train(tmp_path) == 0
    assert results(tmp_path) == results(whole)
    assert [line["health"] for line in log(tmp_path)] == [line["health"] for line in log(whole)]
    ours, theirs = (checkpoint.load(checkpoint.latest(run)) for run in (tmp_path, whole))
    for tensors in ("stage", "optimizer"):
        torch.testing.assert_close(plain(ours[tensors]), plain(theirs[tensors]), rtol=0, atol=0)


def test_settings_of_a_run_change_nothing(whole, tmp_path):
    run = RunConfig(log_every=7, save_every=9, keep_last=1, max_bad_steps=2)
    train(tmp_path, run=run)
    assert results(tmp_path) == results(whole)


@pytest.mark.parametrize("accumulation", [2, 8])
def test_accumulation_changes_rounding_alone(whole, tmp_path, accumulation):
    train(tmp_path, efficiency=EfficiencyConfig(device="cpu", accumulation=accumulation))
    losses, expected = ([line["loss"] for line in log(run)] for run in (tmp_path, whole))
    assert losses == pytest.approx(expected, rel=1e-4)


def test_a_finished_run_goes_on_to_nothing(whole, capsys):
    before = results(whole)
    assert train(whole) == 0
    assert results(whole) == before
    assert "finished 30 steps" in capsys.readouterr().out


def test_the_loader_is_closed_however_the_loop_ends(tmp_path):
    loaders = [ToyLoader(), DyingLoader(2)]
    train(tmp_path / "a", loader=loaders[0])
    with pytest.raises(Killed):
        train(tmp_path / "b", loader=loaders[1])
    assert all(loader.closed for loader in loaders)


def test_a_bad_step_is_skipped_and_counted(whole, tmp_path, capsys):
    # Step 4 is the first of epoch 1: position 3 of it is among its clips.
    stage = ToyStage(bad=(CLIPS + 3,))
    assert train(tmp_path, stage=stage) == 0
    lines = log(tmp_path)
    assert [line["step"] for line in lines if line["skipped"]] == [4]
    assert lines[3]["loss"] is None
    assert results(tmp_path)[:3] == results(whole)[:3]
    assert results(tmp_path)[4] != results(whole)[4]
    assert all(parameter.isfinite().all() for parameter in stage.parameters())
    assert "1 steps were skipped" in capsys.readouterr().out


def test_a_gradient_that_is_not_finite_is_a_bad_step_too(tmp_path):
    class Steep(ToyStage):
        def loss(self, batch):
            terms = super().loss(batch)
            first = (batch.keys[:, 1] == 1).any()  # all of epoch 1
            root = torch.where(first, self.encoder.bias * 0, 1.0).sum().sqrt()
            total = terms["squared"].total + root  # finite, and at 0 its gradient is not
            return terms | {"squared": Term(total, terms["squared"].count)}

    assert train(tmp_path, stage=Steep()) == 0
    lines = log(tmp_path)
    assert [line["step"] for line in lines if line["skipped"]] == [4, 5, 6]
    assert all(line["loss"] is not None for line in lines)
    assert lines[3]["grad_norm"] is None


def test_the_last_checkpoints_are_kept(whole):
    kept = sorted(path.name for path in (whole / folder.CHECKPOINTS).iterdir())
    assert kept == ["step-00000028", "step-00000030"]


def test_a_signal_adds_no_health_to_the_log(tmp_path):
    class Interrupting(ToyLoader):
        def __next__(self):
            if self.step == 13:
                signal.raise_signal(signal.SIGTERM)
            return super().__next__()

    run = RunConfig(log_every=10)
    assert train(tmp_path / "whole", run=run) == 0
    assert train(tmp_path / "run", loader=Interrupting(), run=run) == 143
    assert [line["step"] for line in log(tmp_path / "run") if "health" in line] == [10]
    assert len(log(tmp_path / "run")) == 14
    assert train(tmp_path / "run", run=run) == 0
    ours, theirs = (
        [line.get("health") for line in log(tmp_path / name)] for name in ("run", "whole")
    )
    assert ours == theirs
    assert [step for step, health in enumerate(ours, 1) if health] == [10, 20, 30]


@pytest.mark.parametrize("log_every", [1, 50])
def test_too_many_bad_steps_in_a_row_stop_the_run(tmp_path, log_every):
    bad = tuple(BATCH * step for step in (1, 5, 6, 7, 8, 9))
    run = RunConfig(log_every=log_every, save_every=100, max_bad_steps=3)
    with pytest.raises(NotFiniteError, match=r"3 steps in a row up to step 8; lower optim\.lr"):
        train(tmp_path, stage=ToyStage(bad=bad), run=run)


def test_bad_steps_in_a_row_are_counted_across_a_restart(tmp_path):
    bad = tuple(BATCH * step for step in range(2, 9))
    run = RunConfig(log_every=1, save_every=1, max_bad_steps=4)
    with pytest.raises(Killed):
        train(tmp_path, stage=ToyStage(bad=bad), loader=DyingLoader(4), run=run)
    with pytest.raises(NotFiniteError, match="up to step 6"):
        train(tmp_path, stage=ToyStage(bad=bad), run=run)


def test_replaced_files_are_logged_and_named_at_the_end(tmp_path, capsys):
    train(tmp_path, loader=ToyLoader(broken=(2, 20)))
    assert [line["step"] for line in log(tmp_path) if line["replaced"]] == [3, 21]
    assert log(tmp_path)[2]["replacements"][0]["path"] == "broken-2.mp4"
    out = capsys.readouterr().out
    assert "replaced 1 times: broken-2.mp4: no video stream" in out
    assert "broken-20.mp4" in out


def test_replaced_files_are_named_after_a_restart_too(tmp_path, capsys):
    class Dying(DyingLoader):
        def __next__(self):
            batch = super().__next__()
            batch.replaced = next(ToyLoader(broken=(0,))).replaced if self.step == 3 else []
            return batch

    with pytest.raises(Killed):
        train(tmp_path, loader=Dying(10))
    train(tmp_path)
    assert "broken-0.mp4" in capsys.readouterr().out


def test_too_many_replaced_files_stop_the_run_with_their_list(tmp_path):
    run = RunConfig(log_every=1, max_replaced_share=0.1)
    broken = (0, 1, 2)  # 3 of the 24 clips of an epoch
    with pytest.raises(ReplacedError, match=r"3 of 24 clips") as caught:
        train(tmp_path, loader=ToyLoader(broken=broken), run=run)
    assert [f"broken-{step}.mp4: no video stream" in str(caught.value) for step in broken]
    assert len(log(tmp_path)) == 3
    allowed = RunConfig(log_every=1, max_replaced_share=0.5)
    assert train(tmp_path, run=allowed) == 0


def test_one_broken_file_in_the_first_batch_stops_nothing(tmp_path):
    assert (
        train(tmp_path, loader=ToyLoader(broken=(0,)), run=RunConfig(max_replaced_share=0.1)) == 0
    )


def test_unusable_data_saves_what_was_learnt(tmp_path):
    class Failing(ToyLoader):
        def __next__(self):
            if self.step == 6:
                raise DataError("eleven unusable files in a row")
            return super().__next__()

    with pytest.raises(DataError):
        train(tmp_path, loader=Failing())
    assert checkpoint.latest(tmp_path).name == "step-00000006"


def test_a_run_in_use_is_refused(tmp_path):
    with folder.locked(tmp_path), pytest.raises(FolderInUseError):
        train(tmp_path)


def test_a_checkpoint_of_another_model_is_refused_in_a_line(whole, tmp_path):
    class Wider(ToyStage):
        def __init__(self):
            super().__init__()
            self.extra = torch.nn.Linear(2, 2).requires_grad_(False)

    with pytest.raises(RunError, match=r"does not fit .*extra\.weight") as caught:
        train(whole, stage=Wider())
    assert "\n" not in str(caught.value)


def test_copies_that_a_user_made_are_no_checkpoints(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    places = run / folder.CHECKPOINTS
    newest = checkpoint.latest(run)
    for name in ("step-best", "step-00000099-backup"):
        shutil.copytree(newest, places / name)
    assert checkpoint.latest(run) == newest
    optim = OptimConfig(BATCH, steps=STEPS + 8, lr=1e-2, lr_scaling="none")
    train(run, optim=optim, run=RunConfig(keep_last=1, save_every=4))
    assert {path.name for path in places.iterdir()} >= {"step-best", "step-00000099-backup"}


def test_temporaries_are_removed_at_the_next_start(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, loader=DyingLoader(6))
    (tmp_path / folder.CHECKPOINTS / f"{TEMPORARY}step-00000008").mkdir()
    (tmp_path / f"{TEMPORARY}x").write_text("x")
    train(tmp_path)
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


def test_only_a_fetch_waits_for_the_device(tmp_path, monkeypatch):
    steps = []
    original = torch.Tensor.tolist

    def counted(tensor):
        steps.append(len(tensor))
        return original(tensor)

    def waits(*_):
        raise AssertionError("this waits for the device")

    for name in ("item", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, waits, raising=True)
    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    optim = OptimConfig(BATCH, steps=12, lr=1e-2, lr_scaling="none")
    with pytest.raises(AssertionError, match="waits"):  # the last checkpoint does
        train(tmp_path, optim=optim, run=RunConfig(log_every=5, save_every=100))
    assert len(log(tmp_path)) == 12
    # At each fetch the window's steps, then the last one's health: 2 norms of 2 parts, 2 more.
    assert steps == [5, 6, 5, 6, 2, 6]


def test_the_default_config_is_the_paper_s():
    assert (OPTIM.betas, OPTIM.eps, OPTIM.weight_decay, OPTIM.clip_norm) == (
        (0.9, 0.98),
        1e-6,
        0.05,
        5,
    )


def test_the_log_says_where_the_number_of_batches_ahead_changes(tmp_path, capsys):
    class Deepening(ToyLoader):
        @property
        def prefetch(self):
            return 2 if self.step < 5 else 3

        @prefetch.setter
        def prefetch(self, _):
            pass

    assert train(tmp_path / "run", loader=Deepening()) == 0
    told = {line["step"]: line["prefetch"] for line in log(tmp_path / "run") if "prefetch" in line}
    assert told == {1: 2, 5: 3}
    said = capsys.readouterr().out
    assert "step 5: 3 batches are made ahead, 2 before" in said
    assert said.count("made ahead") == 1

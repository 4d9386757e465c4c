import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ivn import run
from ivn.config.presets import PRESETS
from ivn.config.run import from_toml, help_text, override, to_toml
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.media.source import BUNDLED_CLIPS
from ivn.train import folder
from tests.command import SMALL, STAGE1, assert_one_line, command
from tests.processes import run_code

NEW = ["--data", "x", "--out", "y"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder with four of the bundled clips."""
    place = tmp_path_factory.mktemp("clips")
    for file in sorted(BUNDLED_CLIPS.glob("asl-*.mp4"))[:4]:
        shutil.copy(file, place)
    return place


@pytest.fixture
def ivn():
    """Runs the command here; gives its exit code, output and error output."""
    return command


def lines(run):
    keys = ("step", "lr", "loss", "terms", "grad_norm")
    read = [json.loads(text) for text in (run / folder.LOG).read_text().splitlines()]
    return [{key: line[key] for key in keys} for line in read]


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_and_version_load_no_torch(option):
    code = (
        f"import sys; from ivn.cli import main; sys.argv = ['ivn', {option!r}]\n"
        "try: stop = main()\nexcept SystemExit as stopped: stop = stopped.code\n"
        "print(stop, 'torch' in sys.modules)"
    )
    assert run_code(code).splitlines()[-1] == "0 False"


@pytest.mark.parametrize("command", ["pretrain", "config", "demo", "doctor"])
def test_every_command_has_help(ivn, command):
    assert command in ivn("--help")[1]
    code, out, _ = ivn(command, "--help")
    assert code == 0
    assert "usage: ivn " + command in out


def test_help_of_pretrain_shows_how_and_every_setting(ivn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = ivn("pretrain", "--help")
    assert code == 0
    assert out.endswith(help_text(100) + "\n")
    for line in ("$ ivn pretrain PRESET --data FOLDER --out RUN", "$ ivn pretrain --resume RUN"):
        assert line in out.splitlines()
    assert "[PRESET]" in out
    assert "(default" not in out.partition("settings, for --set")[0]


def test_configs_are_compared_a_line_a_field(ivn, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(ivn("config", "stage1-tiny", "--set", "optim.lr=0.5", "stage.mask=random")[1])
    code, out, err = ivn("config", "diff", "stage1-tiny", file)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        'stage.mask  "semantic_topk"  ->  "random"',
        "optim.lr    0.001  ->  0.5",
    ]
    assert ivn("config", "diff", file, file) == (0, "no difference\n", "")
    # A run is named by its folder.
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_bytes(Path(file).read_bytes())
    assert ivn("config", run)[1] == ivn("config", file)[1]
    assert ivn("config", "diff", run, file) == (0, "no difference\n", "")
    assert ivn("config", file)[1] == file.read_text()


def test_configs_of_both_stages_are_compared(ivn):
    lines = ivn("config", "diff", "stage1-base", "stage2-base")[1].splitlines()
    rows = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in lines}
    assert rows["stage.kind"] == '"stage1"  ->  "stage2"'
    assert rows["stage.mask"] == '"semantic_topk"  ->  "multi_block"'
    assert rows["stage.align_pooled"] == "false  ->  absent"
    assert rows["stage.views.1.count"] == "absent  ->  2"
    assert rows["model.decoder.width"] == "1536  ->  absent"
    assert not any(key.startswith("model.encoder") for key in rows)


@pytest.mark.parametrize("command", [["pretrain", "--help"], ["config", "stage1-base"]])
def test_a_reader_that_has_read_enough_is_no_error(command):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "ivn", *command], **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_preset_is_printed_as_toml(ivn):
    code, out, _ = ivn("config", "stage2-base", "--set", "optim.lr=0.5", "data.seed=3")
    assert code == 0
    assert from_toml(out) == override(PRESETS["stage2-base"](), "optim.lr=0.5", "data.seed=3")


def test_presets_are_listed(ivn):
    assert ivn("config")[1].split() == list(PRESETS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["no command 'nonsense', expected ivn and one of pretrain, config, "]),
        (["nonsense", "--help"], ["no command 'nonsense'"]),
        (["data", "nonsense", "-h"], ["expected ivn data and one of render, index, "]),
        (["config", "stage1-tyni"], ["no preset 'stage1-tyni'", "stage1-tiny"]),
        (["config", "nope"], ["no preset 'nope'; ivn config lists all"]),
        (["config", "diff", "stage1-tiny"], ["expected PRESET, or diff A B"]),
        (["config", "diff", "stage1-tiny", "stage1-smal"], ["did you mean stage1-small"]),
        (["config", "diff", "stage1-tiny", "stage1-base", "--set", "optim.lr=1"], ["--set"]),
        (["config", "stage1-tiny", "stage1-base"], ["diff A B"]),
        (["config", "--set", "optim.lr=1"], ["expected PRESET"]),
        (["config", "stage1-tiny", "--set", "optim.lrr=1"], ["did you mean optim.lr?"]),
        (["config", "stage1-tiny", "--set", "optim.foo=1"], ["optim has batch_size, epochs, "]),
        (["config", "stage1-tiny", "--set", "xyz=1"], ["the config has name, data, model, "]),
        (["config", "stage1-tiny", "--set", "optim.lr.x=1"], ["optim.lr is one value"]),
        (["config", "stage2-tiny", "--set", "stage.views.2.count=1"], ["entries 0 to 1"]),
        (["config", "stage1-tiny", "--set", "optim.lr=big"], ["expected float"]),
        (["config", "stage1-tiny", "--set", "stage.mask_ratio=1.5"], ["mask_ratio is 1.5"]),
        (["config", "stage1-tiny", "--set", "stage.pixels_weight=-1"], ["expected at least 0"]),
        (["config", "stage2-tiny", "--set", "stage.frames=0"], ["frames 0", "at least 1"]),
        (["pretrain", "--data", "x", "--out", "y"], ["PRESET"]),
        (["config", "stage1-tiny", "optim.lr=1"], ["did you mean --set optim.lr=1?"]),
        (["pretrain", "stage1-tiny"], ["--data", "--out"]),
        (["pretrain", "nosuch"], ["no preset 'nosuch'; ivn config lists all"]),
        (["pretrain", "stage1-tyni"], ["did you mean stage1-tiny? ivn config lists all"]),
        (["pretrain", "stage1-tyni", *NEW], ["did you mean stage1-tiny?"]),
        (["pretrain", "stage1-tiny", "--resume", "x"], ["one of"]),
        (["pretrain", "--resume", "x", "--out", "y"], ["from the run itself"]),
        (["pretrain", "--resume", "x", "--data", "y", "--init", "z"], ["from the run itself"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(ivn, arguments, words):
    assert assert_one_line(ivn(*arguments), *words) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("optim.steps=3", "optim.steps=3; did you mean --set optim.steps=3?"),
        ("optm.steps=3", "did you mean --set optim.steps=3?"),
        ("--lr 3e-4", "--lr; did you mean --set optim.lr=3e-4?"),
        ("--optim.lr=3e-4", "did you mean --set optim.lr=3e-4?"),
        ("--batch-size 4 --lr 1", "--batch-size; did you mean --set optim.batch_size=4?"),
        ("--tensorboard", "did you mean --set run.tensorboard=VALUE?"),
        ("--lr -1", "did you mean --set optim.lr=-1?"),
        ("--optim.betas=[0.9,0.95]", "did you mean --set 'optim.betas=[0.9,0.95]'?"),
        ("--image-height 8", "did you mean --set model.encoder.image_height=8?"),
        ("encodr.width=3", "--set model.encoder.width=3, --set model.predictor.width=3 or"),
        ("--image-size 9", "stage.teacher.image_size=9, --set stage.second_teacher.image_size=9"),
        ("--depth 3", "model.encoder.depth=3, --set model.predictor.depth=3 or --set model.dec"),
    ],
)
def test_a_setting_that_was_typed_as_an_option_is_told_with_its_place(ivn, words, expected):
    said = ivn("pretrain", "stage1-tiny", *words.split(), *NEW)
    assert assert_one_line(said, "ivn pretrain has no option ", expected) == 2


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pretrain stage1-tiny", "--ouput x"),
        ("pretrain stage1-tiny", "--foo 1"),
        ("pretrain stage1-tiny", "stray"),
        ("pretrain stage1-tiny", "steps"),
        ("pretrain stage1-tiny", "x=1"),
        ("embed clips --encoder raw -o f.npz", "--lr 1"),
    ],
)
def test_an_unknown_option_that_is_no_setting_is_explained_in_a_box(ivn, command, words):
    code, out, err = ivn(*command.split(), *words.split())
    assert (code, out) == (2, "")
    assert "Unrecognized options" in err and words.split()[0] in err and "--set" not in err


def test_a_run_or_a_file_in_place_of_a_preset_is_told_with_its_option(ivn, tmp_path):
    file = tmp_path / "config.toml"
    file.touch()
    for more in ([], NEW):
        said = ivn("pretrain", tmp_path, *more)
        assert assert_one_line(said, f"a run: --resume {tmp_path} continues it") == 2
        said = ivn("pretrain", file, *more)
        assert assert_one_line(said, f"a file: --config {file} takes its settings") == 2


def test_rows_that_a_manifest_calls_unusable_are_told_before_training(ivn, tmp_path, clips):
    rows = [Row(str(file)) for file in sorted(clips.iterdir())]
    rows[1:3] = [replace(row, status="truncated") for row in rows[1:3]]
    write_manifest(tmp_path / "m.parquet", rows)
    small = ["--out", tmp_path / "run", "--set", *SMALL, *STAGE1, "optim.batch_size=3"]
    code, out, err = ivn("pretrain", "stage1-tiny", "--data", tmp_path / "m.parquet", *small)
    assert (code, out) == (1, "2 of 4 rows are unusable: their status says why\n")
    assert "2 clips are fewer than one batch of 3" in err


def test_wrong_input_is_one_line_and_exit_code_1(ivn, tmp_path, clips):
    empty = tmp_path / "empty"
    empty.mkdir()
    run = tmp_path / "run"
    small = ["--out", run, "--set", *SMALL, *STAGE1]
    cases = [
        (["stage1-tiny", "--data", tmp_path / "nowhere", *small], "no such file"),
        (["stage1-tiny", "--data", empty, *small], "no videos"),
        (["stage1-tiny", "--data", clips, *small, "optim.batch_size=5"], "fewer than one batch"),
        (["stage2-tiny", "--data", clips, "--out", run, "--set", *SMALL], "--init RUN"),
        (["stage1-tiny", "--data", clips, *small, "--init", empty], "empty"),
        (["stage1-tiny", "--data", clips, *small, "efficiency.accumulation=3"], "micro-batches"),
        (["stage1-tiny", "--data", clips, *small, "model.predictor.heads=16"], "even size"),
        (["stage1-tiny", "--data", clips, *small, "model.encoder.depth=0"], "aligned layers"),
        (["--config", tmp_path / "no.toml", "--data", clips, "--out", run], "no.toml"),
        (["--resume", empty], "holds no run"),
        (["--resume", tmp_path / "nowhere"], "holds no run"),
    ]
    for arguments, words in cases:
        assert assert_one_line(ivn("pretrain", *arguments), words) == 1
        assert not run.exists()


def test_a_folder_of_other_files_is_refused(ivn, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    arguments = ["stage1-tiny", "--data", tmp_path, "--out", tmp_path]
    assert assert_one_line(ivn("pretrain", *arguments), "not empty") == 1


@pytest.fixture(scope="module")
def stage1(tmp_path_factory, clips):
    """A run of stage one, of four steps."""
    out = tmp_path_factory.mktemp("stage1") / "run"
    config = override(PRESETS["stage1-tiny"](), *SMALL, *STAGE1)
    assert run.start(config, data=clips, out=out) == 0
    return out


def test_stage_two_starts_from_stage_one_and_names_what_is_new(ivn, tmp_path, clips, stage1):
    out = tmp_path / "run"
    code, said, err = ivn(
        *("pretrain", "stage2-tiny", "--data", clips, "--out", out, "--init", stage1),
        *("--set", *SMALL),
    )
    assert (code, err) == (0, "")
    assert f"encoder and predictor from {stage1}; new: decoder" in said
    assert len(lines(out)) == 4


def test_stage_one_of_another_size_is_refused(ivn, tmp_path, clips, stage1):
    out = tmp_path / "run"
    arguments = ["stage2-tiny", "--data", clips, "--out", out, "--init", stage1]
    said = ivn("pretrain", *arguments, "--set", *SMALL, "model.encoder.depth=3")
    assert assert_one_line(said, str(stage1)) == 1
    assert not out.exists()


def test_a_saved_config_runs_again_to_the_same_losses(ivn, tmp_path, clips, stage1):
    out = tmp_path / "run"
    arguments = ["--config", stage1 / folder.CONFIG, "--data", clips, "--out", out]
    assert ivn("pretrain", *arguments)[0] == 0
    assert lines(out) == lines(stage1)
    assert (out / folder.CONFIG).read_text() == (stage1 / folder.CONFIG).read_text()


class Killed(BaseException):
    """Ends the run here, as a kill would: nothing catches it."""


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_resumed_run_is_the_run_that_was_not_cut_off(
    ivn, tmp_path, clips, stage1, monkeypatch, last
):
    original = ClipLoader.__next__

    def dying(loader):
        if loader.step == last:
            raise Killed
        return original(loader)

    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ClipLoader, "__next__", dying)
        ivn("pretrain", "--config", stage1 / folder.CONFIG, "--data", clips, "--out", out)
    changes = ["--set", "efficiency.workers=1", "run.log_every=3"]
    code, said, err = ivn("pretrain", "--resume", out, *changes)
    assert (code, err) == (0, "")
    assert ("going on after step 2 of 4" in said) == (last == 3)
    assert lines(out) == lines(stage1)


def test_what_changes_results_stays_when_a_run_goes_on(ivn, stage1):
    said = ivn("pretrain", "--resume", stage1, "--set", "optim.lr=1")
    assert assert_one_line(said, "only run and efficiency may change") == 2


def test_other_clips_are_noticed_when_a_run_goes_on(ivn, tmp_path, clips, stage1):
    mine, out = tmp_path / "clips", tmp_path / "run"
    shutil.copytree(clips, mine)
    assert ivn("pretrain", "--config", stage1 / folder.CONFIG, "--data", mine, "--out", out)[0] == 0
    next(mine.iterdir()).unlink()
    assert assert_one_line(ivn("pretrain", "--resume", out), "3 now, 4 then") == 1


def test_a_run_of_a_relative_folder_goes_on_from_anywhere(
    ivn, tmp_path, clips, stage1, monkeypatch
):
    out = tmp_path / "run"
    monkeypatch.chdir(clips.parent)
    arguments = ["--config", stage1 / folder.CONFIG, "--data", clips.name, "--out", out]
    assert ivn("pretrain", *arguments)[0] == 0
    monkeypatch.chdir(tmp_path)
    assert ivn("pretrain", "--resume", "run")[::2] == (0, "")
    assert lines(out) == lines(stage1)


def test_a_run_is_not_overwritten(ivn, clips, stage1):
    before = lines(stage1)
    arguments = ["stage1-tiny", "--data", clips, "--out", stage1]
    assert assert_one_line(ivn("pretrain", *arguments), f"ivn pretrain --resume {stage1}") == 1
    assert lines(stage1) == before


def test_a_run_in_use_is_refused(ivn, stage1):
    with folder.locked(stage1):
        assert assert_one_line(ivn("pretrain", "--resume", stage1), "in use") == 1


def start_long_run(tmp_path, clips, stage1, stdout=subprocess.PIPE):
    """A run with a worker in a session of its own, and its folder."""
    out, config = tmp_path / "run", tmp_path / "config.toml"
    many = override(
        from_toml((stage1 / folder.CONFIG).read_text()), "optim.steps=400", "efficiency.workers=1"
    )
    config.write_text(to_toml(many))
    command = [sys.executable, "-m", "ivn", "pretrain", "--config", config, "--data", clips]
    process = subprocess.Popen(
        [*command, "--out", out],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, out


def wait_for_step(process, step):
    while process.stdout.readline().partition("/")[0] != f"step {step}":
        assert process.poll() is None, process.stderr.read()


def session_of(leader):
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended in the meantime
        found += [stat.parent.name] if int(session) == leader and state != "Z" else []
    return found


def test_a_killed_run_leaves_no_worker_behind(tmp_path, clips, stage1):
    process, _ = start_long_run(tmp_path, clips, stage1)
    wait_for_step(process, 2)
    assert len(session_of(process.pid)) > 2
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while session_of(process.pid):
        assert time.monotonic() < deadline, f"left behind: {session_of(process.pid)}"
        time.sleep(0.1)


def test_a_run_that_nobody_listens_to_any_more_goes_on(tmp_path, clips, stage1):
    process, out = start_long_run(tmp_path, clips, stage1)
    wait_for_step(process, 2)
    process.stdout.close()
    seen = len(lines(out))
    deadline = time.monotonic() + 60
    while len(lines(out)) < seen + 10:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 143
    assert (out / folder.CHECKPOINTS / f"step-{len(lines(out)):08d}").exists()


def test_a_terminated_run_with_workers_saves_and_goes_on(tmp_path, clips, stage1):
    process, out = start_long_run(tmp_path, clips, stage1)
    wait_for_step(process, 3)
    os.killpg(process.pid, signal.SIGTERM)  # as a batch system does: workers too
    said, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")
    assert f"go on with: ivn pretrain --resume {out}" in said
    steps = [line["step"] for line in lines(out)]
    assert steps == list(range(1, len(steps) + 1))
    assert (out / folder.CHECKPOINTS / f"step-{len(steps):08d}").exists()

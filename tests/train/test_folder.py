import subprocess
import sys

import pytest

from ivn.durable import TEMPORARY, write_text
from ivn.errors import FolderInUseError, RunError
from ivn.train import folder

SOURCE = {"data": "/clips", "init": "", "clips": 3, "fingerprint": "f"}


def start(run):
    folder.create(run, config='name = "x"\n', source=SOURCE, clips=b"")


def test_a_started_run_is_read_back(tmp_path):
    start(tmp_path / "a" / "run")
    assert folder.read(tmp_path / "a" / "run") == ('name = "x"\n', SOURCE)


def test_a_run_is_never_overwritten(tmp_path):
    start(tmp_path)
    (tmp_path / folder.LOG).write_text('{"step": 1}\n')
    with pytest.raises(FileExistsError, match="ivn pretrain --resume"):
        start(tmp_path)


def test_a_run_that_took_no_step_can_be_started_again(tmp_path):
    start(tmp_path)
    (tmp_path / folder.LOG).touch()
    (tmp_path / folder.CHECKPOINTS).mkdir()
    start(tmp_path)
    assert (tmp_path / folder.CONFIG).exists() and not (tmp_path / folder.LOG).exists()


def test_a_saved_step_is_never_overwritten(tmp_path):
    start(tmp_path)
    (tmp_path / folder.CHECKPOINTS / "step-00000003").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="ivn pretrain --resume"):
        start(tmp_path)


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        start(tmp_path / "run")


def test_a_start_that_was_cut_off_can_be_made_again(tmp_path):
    write_text(tmp_path / folder.SOURCE, "{}")
    (tmp_path / f"{TEMPORARY}1-{folder.CONFIG}").write_text("nam")
    start(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        folder.SOURCE,
        folder.CLIPS,
        folder.CONFIG,
    }


def test_a_folder_without_a_run_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        folder.read(tmp_path)


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"data": 3}', "no JSON"])
def test_a_changed_record_of_the_clips_is_refused_in_one_line(tmp_path, text):
    start(tmp_path)
    (tmp_path / folder.SOURCE).write_text(text)
    with pytest.raises(RunError, match=r"run\.json is not as it was written") as refused:
        folder.read(tmp_path)
    assert "\n" not in str(refused.value)


def test_two_processes_cannot_use_a_run(tmp_path):
    refused = pytest.raises(FolderInUseError, match="in use")
    with folder.locked(tmp_path), refused, folder.locked(tmp_path):
        pass
    with folder.locked(tmp_path):
        pass


def test_the_lock_leaves_no_file(tmp_path):
    with folder.locked(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import sys, time, pathlib; from ivn.train import folder\n"
        "with folder.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError), folder.locked(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with folder.locked(tmp_path):
        pass

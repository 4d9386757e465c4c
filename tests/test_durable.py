"""Files are whole or not there, whenever their process is killed."""

import errno
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ivn import durable
from ivn.durable import (
    Parts,
    digest,
    filling,
    new_file,
    new_folder,
    partial,
    parts_of,
    remove_folder,
    remove_temporaries,
    write_text,
)
from ivn.errors import DataError, WriteError
from tests.processes import ROOT

KILLS = int(os.environ.get("IVN_SOAK", "10"))


def test_a_file_appears_whole_at_the_end_and_nothing_else_is_left(tmp_path):
    with new_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("mine")
    with pytest.raises(DataError, match=r"a\.txt: is there already, and is not overwritten"):
        write_text(file, "other")
    assert file.read_text() == "mine"
    write_text(file, "other", overwrite=True)
    assert file.read_text() == "other"
    with pytest.raises(DataError, match="is there already"), new_file(tmp_path / "b.txt") as new:
        new.write_text("late")
        (tmp_path / "b.txt").write_text("earlier")
    assert (tmp_path / "b.txt").read_text() == "earlier"
    with pytest.raises(DataError, match="is there already"), new_folder(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, ZeroDivisionError])
def test_after_any_exception_nothing_is_left_and_it_stays_what_it_is(tmp_path, error):
    write_text(tmp_path / "old", "old")
    with pytest.raises(error), new_file(tmp_path / "old", overwrite=True) as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(error), new_folder(tmp_path / "folder") as temporary:
        (temporary / "file").write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["old"] and (tmp_path / "old").read_text() == "old"


def test_a_failed_write_is_one_line_with_the_reason_and_the_free_space(tmp_path):
    class HiddenError(Exception):
        """A library's own error."""

    def fails(error):
        with new_file(tmp_path / "a", failures=(HiddenError,)) as temporary:
            temporary.write_bytes(bytes(99))
            raise error(temporary)

    said = r"^\S+/a: cannot be written \({}; \d+ MB free on its disk\)$"
    for error, reason in (
        (lambda _: OSError(errno.ENOSPC, "Detail: wrapped\nby a library"), "no space left on .*"),
        (lambda new: OSError(errno.EROFS, "x", str(new)), "read-only file system"),
        (lambda _: HiddenError("IoError"), "a write failed"),
        (lambda new: OSError(None, "torn off", new), "torn off"),
    ):
        with pytest.raises(WriteError, match=said.format(reason)) as caught:
            fails(error)
        assert caught.value.code == 1 and caught.value.reason in str(caught.value)
    with pytest.raises(WriteError, match=r"none/a: cannot be written \(no such file"):
        write_text(tmp_path / "none" / "a", "")
    assert not os.listdir(tmp_path)


def test_what_fails_to_be_read_in_between_is_not_taken_for_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), new_file(tmp_path / "a"):
        (tmp_path / "other").read_bytes()
    with (
        pytest.raises(FileNotFoundError, match="other"),
        filling(tmp_path / "f", {}, "settings.json"),
    ):
        (tmp_path / "other").read_bytes()


def test_the_free_space_is_that_before_the_file_is_removed(tmp_path, monkeypatch):
    seen = []
    usage = shutil.disk_usage
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: seen.append(os.listdir(tmp_path)) or usage(path)
    )
    with pytest.raises(WriteError), new_file(tmp_path / "a") as temporary:
        temporary.write_bytes(bytes(99))
        raise OSError(errno.ENOSPC, "full")
    assert [len(names) for names in seen] == [1] and not os.listdir(tmp_path)


def test_file_and_name_are_on_disk_before_they_count(tmp_path, monkeypatch):
    """A power cut behind the rename must find the bytes, one behind the call the name."""
    told = []
    sync, rename = os.fsync, os.replace

    def noted(descriptor):
        told.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *names: told.append("renamed") or rename(*names))
    own = f".tmp-{os.getpid()}"
    write_text(tmp_path / "a", "x")
    assert told == [f"{own}-a", "renamed", tmp_path.name]
    told.clear()
    with new_folder(tmp_path / "b") as temporary:
        (temporary / "one").touch()
    assert told == ["one", f"{own}-b", "renamed", tmp_path.name]


def test_folders_are_made_and_removed_whole(tmp_path, monkeypatch):
    with new_folder(tmp_path / "deep" / "a") as temporary:
        (temporary / "file").write_text("x")
    assert (tmp_path / "deep" / "a" / "file").read_text() == "x"
    monkeypatch.setattr(shutil, "rmtree", lambda *_: None)  # killed before it
    remove_folder(tmp_path / "deep" / "a")
    monkeypatch.undo()
    (left,) = (tmp_path / "deep").iterdir()
    assert durable.is_temporary(left)
    remove_temporaries(tmp_path / "deep")
    assert not list((tmp_path / "deep").iterdir())


def added(parts: Parts, text: str) -> None:
    with parts.add(digest(text), ".txt") as path:
        path.write_text(text)


def test_parts_of_the_same_input_are_kept_up_to_the_first_other(tmp_path):
    file = tmp_path / "f"
    with parts_of(file, {"a": 1}) as parts:
        for text in ("one", "two", "three"):
            added(parts, text)
    with parts_of(file, {"a": 1}) as parts:
        assert [path.read_text() for path in parts.paths] == ["one", "two", "three"]
        assert parts.keep(0, digest("one"))
        assert not parts.keep(1, digest("other"))
        assert [path.read_text() for path in parts.paths] == ["one"]
        added(parts, "other")
        with parts.completed() as whole:
            whole.write_text("".join(path.read_text() for path in parts.paths))
            assert not file.exists()
    assert file.read_text() == "oneother" and os.listdir(tmp_path) == ["f"]


def test_begun_parts_are_never_mixed_up(tmp_path):
    file, folder = tmp_path / "f", tmp_path / "f.partial"
    with parts_of(file, {"a": 1, "b": 2}) as parts:
        added(parts, "one")
        with (
            pytest.raises(DataError, match=r"f\.partial: another process works on it; wait"),
            parts_of(file, {"a": 1, "b": 2}),
        ):
            pass
    for settings, said in (
        ({"a": 3, "b": 2}, r'\("a": 1\)'),
        ({"a": 1}, r'\("b": 2\)'),
        ({"a": 1, "b": 2, "c": 3}, r'\(without "c": 3\)'),
    ):
        refused = rf"f\.partial: was begun with other settings {said}: remove it, or give another"
        with pytest.raises(DataError, match=refused), parts_of(file, settings):
            pass
    # A version whose parts mean something else.
    (folder / "settings.json").write_text(json.dumps({"a": 1, "b": 2}, indent=1) + "\n")
    with (
        pytest.raises(DataError, match=r'other settings \(without "parts": 2\)'),
        parts_of(file, {"a": 1, "b": 2}),
    ):
        pass
    (folder / "settings.json").unlink()
    with pytest.raises(DataError, match="expected a new folder"), parts_of(file, {}):
        pass
    assert len(list(folder.glob("part-*"))) == 1
    file.touch()
    with pytest.raises(DataError, match="f: is there already"), parts_of(file, {}):
        pass


def test_a_folder_without_a_finished_part_goes(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        parts_of(tmp_path / "f", {}) as parts,
        parts.add("0", "") as path,
    ):
        path.write_text("half")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def test_a_folder_that_is_filled_holds_its_settings_and_is_cleared(tmp_path):
    out = tmp_path / "out"
    with filling(out, {"a": 1}, "made.json", below=("clips/*",)):
        (out / "clips" / "x").mkdir(parents=True)
        for place in (out, out / "clips" / "x"):
            (place / ".tmp-7-left").touch()
        with (
            pytest.raises(DataError, match="in use by another process"),
            filling(out, {"a": 1}, "made.json"),
        ):
            pass
    assert not list(out.glob("**/.tmp-*"))
    with (
        pytest.raises(DataError, match=r'was begun with other settings \("a": 1\): give those'),
        filling(out, {"a": 2}, "made.json"),
    ):
        pass
    write_text(out / "manifest.parquet", "")
    with pytest.raises(DataError, match="is there already"), filling(out, {"a": 1}, "made.json"):
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with (
        pytest.raises(DataError, match="expected a new folder"),
        filling(tmp_path / "other", {}, "made.json"),
    ):
        pass


ROUNDS = 16


def content(index: int) -> bytes:
    return bytes([index]) * (2**14 + index)


def write(path: Path, data: bytes) -> None:
    """Write a file in two halves, so that kills fall in between."""
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(0.002)
        file.write(data[len(data) // 2 :])


# Makes a file of parts, fills a folder and replaces a file, for as long as it is left alone.
WORK = f"""
import sys
import time
from pathlib import Path
from ivn.durable import digest, filling, new_file, new_folder, parts_of, remove_folder, write_bytes

ROUNDS = {ROUNDS}
{inspect.getsource(content)}{inspect.getsource(write)}
home = Path(sys.argv[1])
print("begun", flush=True)
if not (home / "whole").exists():
    with parts_of(home / "whole", {{"rounds": ROUNDS}}) as parts:
        for index in range(ROUNDS):
            if index < len(parts.paths):
                if parts.keep(index, digest(content(index))):
                    continue
            with parts.add(digest(content(index)), ".txt") as path:
                write(path, content(index))
            write_bytes(home / "replaced", content(index), overwrite=True)
        with parts.completed() as whole:
            write(whole, b"".join(path.read_bytes() for path in parts.paths))
if not (home / "out" / "manifest.parquet").exists():
    with filling((home / "out").absolute(), {{}}, "made.json", below=("files",)):
        (home / "out" / "files").mkdir(exist_ok=True)
        for index in range(ROUNDS):
            if (home / "out" / "files" / str(index)).exists():
                continue
            with new_file(home / "out" / "files" / str(index)) as file:
                write(file, content(index))
            folder = home / "out" / "folders" / str(index % 4)
            if folder.exists():
                remove_folder(folder)
            with new_folder(folder) as made:
                for name in "abc":
                    write(made / name, content(index))
        with new_file(home / "out" / "manifest.parquet") as file:
            write(file, b"")
"""


def check(home: Path) -> tuple[int, int]:
    """See that whatever has its name is whole; gives the number of parts and of files."""
    whole = b"".join(map(content, range(ROUNDS)))
    if (home / "whole").exists():
        assert (home / "whole").read_bytes() == whole
    parts = sorted(partial(home / "whole").glob("part-*"))
    for part in parts:
        assert part.read_bytes() == content(int(part.name.split("-")[1]))
    if (home / "replaced").exists():
        assert (home / "replaced").read_bytes() in map(content, range(ROUNDS))
    files = list((home / "out" / "files").glob("[0-9]*"))
    for file in files:
        assert file.read_bytes() == content(int(file.name))
    for folder in (home / "out" / "folders").glob("[0-9]"):
        (data,) = {(folder / name).read_bytes() for name in "abc"}
        assert data in map(content, range(ROUNDS))
        assert sorted(os.listdir(folder)) == list("abc")
    return len(parts), len(files)


@pytest.mark.longer
def test_killed_at_any_time_all_is_whole_and_the_work_goes_on(tmp_path):
    draw = random.Random(3)
    killed = within = goes = 0
    began = time.monotonic()

    def more() -> bool:
        """Whether too few kills came, or too few of them after something was finished."""
        return killed < KILLS or within < KILLS / 4

    while more():
        goes += 1
        home = tmp_path / str(goes)
        home.mkdir()
        parts = files = idle = 0
        while True:
            process = subprocess.Popen(
                [sys.executable, "-c", WORK, home], cwd=ROOT, stdout=subprocess.PIPE
            )
            assert process.stdout.readline() == b"begun\n"
            # Longer where the last kills came too early for anything to be finished.
            if more():
                time.sleep(draw.random() * 0.05 * (1 + idle))
                process.kill()
            process.communicate()
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            killed += 1
            now_parts, now_files = check(home)
            # Nothing that was finished is lost, and work goes on.
            assert now_parts >= parts or (home / "whole").exists()
            assert now_files >= files
            grown = (now_parts, now_files) != (parts, files)
            within += grown
            idle = 0 if grown else idle + 1
            parts, files = now_parts, now_files
        check(home)
        assert (home / "whole").exists() and len(list((home / "out" / "files").iterdir())) == ROUNDS
        left = [path for path in home.glob("out/**/*") if durable.is_temporary(path)]
        assert [path.parent.name for path in left if path.parent.name != "folders"] == []
        shutil.rmtree(home)
    print(f"{killed} kills in {goes} goes, {time.monotonic() - began:.1f} s; make soak does 200")

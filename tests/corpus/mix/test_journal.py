import os
import resource

import pytest

from ivn.corpus.mix.journal import Journal
from ivn.errors import DataError


def test_answers_are_there_again_also_after_a_line_that_was_cut_off(tmp_path):
    odd = os.fsdecode(b"caf\xe9\n")
    with Journal(tmp_path / "j") as journal:
        journal[odd] = ["value", ""]
        journal["b"] = [None, "why"]
        journal["c"] = [True, ""]
    whole = (tmp_path / "j").read_bytes()
    for cut in range(len(whole.splitlines(keepends=True)[-1])):
        (tmp_path / "j").write_bytes(whole[: len(whole) - cut])
        with Journal(tmp_path / "j") as journal:
            assert odd in journal and journal["b"] == [None, "why"]
            assert ("c" in journal) == (cut == 0)
            journal["d"] = 1
        with Journal(tmp_path / "j") as journal:
            assert journal["d"] == 1 and journal[odd] == ["value", ""]
    journal = Journal(tmp_path / "j")
    journal.remove()
    assert not os.listdir(tmp_path)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none/j: cannot be written \(No such file"):
        Journal(tmp_path / "none" / "j")


def test_two_processes_cannot_have_one(tmp_path):
    with Journal(tmp_path / "j"), pytest.raises(DataError, match="another process works on it"):
        Journal(tmp_path / "j")


def test_a_full_disk_is_one_line_and_what_was_written_before_is_there_again(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with (
            pytest.raises(DataError, match=r"j: cannot be written \(File too large"),
            Journal(tmp_path / "j") as journal,
        ):
            for number in range(20):
                journal[f"key {number}"] = "value"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "j").stat().st_size == 100
    with Journal(tmp_path / "j") as journal:
        assert "key 3" in journal and "key 9" not in journal
        journal["more"] = 1
    with Journal(tmp_path / "j") as journal:
        assert journal["more"] == 1

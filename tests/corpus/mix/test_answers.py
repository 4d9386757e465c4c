import os
import resource

import pytest

from ivn.corpus.mix import answers
from ivn.corpus.mix.answers import Answers
from ivn.durable import parts_of
from ivn.errors import DataError, WriteError

ODD = os.fsdecode(b"caf\xe9\n")


def test_answers_are_there_again_once_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "_PART_ANSWERS", 2)
    with parts_of(tmp_path / "m", {}) as parts:
        found = Answers(parts)
        found[ODD] = ["value", ""]
        assert not parts.paths
        found["b"] = [None, "why"]
        found["c"] = [True, ""]
        assert len(parts.paths) == 1 and found["c"] == [True, ""]
    with parts_of(tmp_path / "m", {}) as parts:
        found = Answers(parts)
        assert found[ODD] == ["value", ""] and found["b"] == [None, "why"] and "c" not in found
        found["d"] = 1
        found.flush()
        found.flush()
    with parts_of(tmp_path / "m", {}) as parts:
        found = Answers(parts)
        assert len(parts.paths) == 2 and found["d"] == 1 and found[ODD] == ["value", ""]
        parts.paths[0].write_text("[")
        with pytest.raises(DataError, match=r"part-00000000-\w+\.json: damaged; remove it"):
            Answers(parts)
        # Answers to other questions than its name says are not believed, nor those behind them.
        parts.paths[0].write_text('[["b", 2]]')
        assert "b" not in Answers(parts) and not parts.paths


def test_a_full_disk_is_one_line_and_what_was_written_before_is_there_again(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "_PART_ANSWERS", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with parts_of(tmp_path / "m", {}) as parts:
        found = Answers(parts)
        found["small"] = "value"
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(WriteError, match=r"json: cannot be written \(file too large; \d+"):
                found["large"] = "value" * 99
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with parts_of(tmp_path / "m", {}) as parts:
        found = Answers(parts)
        assert "small" in found and "large" not in found

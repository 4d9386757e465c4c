"""`ivn bench ops` as a process: rows, provenance, wrong answers, and what cannot be asked."""

import json
import subprocess
import sys

import pytest

from ivn.benchmarks.ops import NOUNS, Options, bench
from tests.processes import ROOT


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What one quick run of one noun prints, and its folder."""
    out = tmp_path_factory.mktemp("out")
    options = ["--quick", "--device", "cpu", "--only", "tokens", "--out", str(out)]
    done = python("-m", "ivn.benchmarks.ops", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, out


def test_rows_tell_speed_beside_the_others_and_a_copy(measured):
    said, out = measured
    found = json.loads((out / "ops.json").read_text())
    assert all(found[key] for key in ("hardware", "torch", "ivn", "dtype"))
    directions = {row["direction"] for row in found["rows"]}
    assert directions == {"forward", "with backward"}
    for row in found["rows"]:
        assert {"ours", "eager", "compiled"} <= set(row["implementations"])
        assert row["bytes"] > 0 and row["copy_milliseconds"] > 0 and not row["wrong"]
        for cells in row["implementations"].values():
            assert cells["of_copy"] == pytest.approx(
                row["copy_milliseconds"] / cells["milliseconds"]
            )
            speed = row["bytes"] / cells["milliseconds"] / 1e6
            assert cells["GB/s"] == pytest.approx(speed) and speed > 0
        assert row["case"] in said


def test_a_plot_is_drawn_of_the_results(measured):
    pytest.importorskip("matplotlib")
    from ivn.benchmarks.plot import draw

    _, out = measured
    draw(json.loads((out / "ops.json").read_text()), out / "ops.png")
    assert (out / "ops.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_answer_is_told_and_not_timed(tmp_path):
    code = f"""
import sys
from ivn.ops import tokens
right = tokens._gather_tokens
tokens._gather_tokens = lambda rows, index: right(rows, index).clone().fill_(0)
sys.argv = "ivn bench ops --quick --device cpu --only tokens --out {tmp_path}".split()
from ivn.cli import main
sys.exit(main())
"""
    pytest.importorskip("tyro")
    done = python("-c", code)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ivn: wrong answers, not timed: tokens: gather_tokens, tiny forward: ou")
    (row, *_) = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert "ours" not in row["implementations"] and "differs" in row["wrong"]["ours"]


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--only", "tokens,mist"], "no benchmark of mist; there are patches, tokens", 2),
        (["--threads", "0"], "threads is 0, expected at least 1", 2),
        (["--plot"], "give --out DIR", 2),
    ],
)
def test_what_cannot_be_asked_is_one_line(options, said, code):
    done = python("-m", "ivn.benchmarks.ops", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


def test_a_plot_without_matplotlib_says_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeError, match="needs matplotlib: pip install"):
        bench(Options(device="cpu", out=str(tmp_path), plot=True))


def test_every_noun_of_the_operations_has_cases():
    library = {"attention"}  # PyTorch's own
    found = {file.stem for file in (ROOT / "ivn" / "ops").glob("[a-z]*.py")}
    assert set(NOUNS) == found - library

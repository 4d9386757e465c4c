"""`ivn bench ops` as a process: rows, provenance, wrong answers, and what cannot be asked."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from ivn.benchmarks.harness import measure
from ivn.benchmarks.harness.measure import Case, interleaved_medians
from ivn.benchmarks.ops import run as ops
from ivn.benchmarks.ops.options import BenchOps
from ivn.benchmarks.ops.run import bench
from ivn.errors import BenchError


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Returns the output of one quick run of one noun, and its folder."""
    out = tmp_path_factory.mktemp("out")
    options = ["--quick", "--device", "cpu", "--only", "tokens", "--out", str(out)]
    done = python("-m", "ivn.benchmarks.ops.run", *options)
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
    from ivn.benchmarks.harness.plot import draw

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
    assert last.startswith(
        "ivn: wrong or failed, not timed: tokens: gather_tokens, tiny forward: o"
    )
    (row, *_) = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert "ours" not in row["implementations"] and "differs" in row["wrong"]["ours"]


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--only", "tokens,mist"], "no benchmark of mist; there are diffusion, distance", 2),
        (["--threads", "0"], "threads is 0, expected at least 1", 2),
        (["--plot"], "give --out DIR", 2),
        (["--out", "/dev/null/no"], "cannot write to /dev/null/no (not a directory)", 1),
    ],
)
def test_what_cannot_be_asked_is_one_line(options, said, code):
    done = python("-m", "ivn.benchmarks.ops.run", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


def test_a_plot_without_matplotlib_says_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeError, match="needs matplotlib: pip install"):
        bench(BenchOps(device="cpu", out=str(tmp_path), plot=True))


def case(name, call, **others):
    ones = torch.ones(2)
    return Case(name, "2", torch.float32, "forward", {"ours": call, **others}, ones, 0.0, 8)


def test_what_fails_does_not_cost_the_rest_and_each_noun_is_written(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")

    def no_room():
        raise torch.OutOfMemoryError("no room\nfor 7 bytes")

    cases = {"tokens": [case("large", no_room), case("small", lambda: torch.ones(2))]}
    monkeypatch.setattr(ops, "_cases", lambda noun, *_: iter(cases.get(noun, [])))
    monkeypatch.setattr(ops, "keep_all_freed_memory", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    drawn = []
    monkeypatch.setattr(
        "ivn.benchmarks.harness.plot.draw", lambda found, file: drawn.append(file.name)
    )
    options = BenchOps(
        device="cpu", only=("tokens", "norm"), quick=True, out=str(tmp_path), plot=True
    )
    with pytest.raises(BenchError, match="wrong or failed, not timed: tokens: large forward: all"):
        bench(options)
    large, small = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert large["wrong"] == {"all": "no room"} and not large["implementations"]
    assert not small["wrong"] and small["implementations"]["ours"]["milliseconds"] > 0
    assert drawn == ["ops.png", "ops.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["ops.json"]


@pytest.mark.parametrize(
    ("device", "sizes", "expected"),
    [("cuda", "abc", "ac"), ("cuda", "a", "a"), ("cpu", "abcd", "abcd")],
)
def test_a_gpu_compiles_the_first_and_the_last_size_alone(device, sizes, expected, monkeypatch):
    noun = SimpleNamespace(
        SIZES={device: list(sizes)},
        cases=lambda size, *_: [case(size, torch.ones, eager=torch.ones, compiled=torch.ones)],
    )
    monkeypatch.setattr(ops.importlib, "import_module", lambda *_: noun)
    made = list(ops._cases("noun", torch.device(device), torch.float32, quick=False))
    assert [one.case for one in made] == list(sizes)
    assert "".join(one.case for one in made if "compiled" in one.implementations) == expected
    for one in made:
        assert {"ours", "eager"} <= set(one.implementations)
        assert ("compiled" in one.notes) != ("compiled" in one.implementations)


@pytest.fixture
def captures(monkeypatch):
    """Stands in for a GPU: the calls that were captured; what is in ``refused`` fails to be."""
    found = SimpleNamespace(calls=[], refused=[], mended=[])

    def captured(call, device):
        found.calls.append(call)
        if call in found.refused:
            raise RuntimeError("operation not permitted\nwhile capturing")
        return call

    monkeypatch.setattr(measure, "_captured", captured)
    monkeypatch.setattr(measure, "_medians", lambda samples, _: dict.fromkeys(samples, 1.0))
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: "before")
    for name in ("set_stream", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda _, name=name: found.mended.append(name))
    return found


def timed(**uncaptured):
    calls = {"ours": list, "other": tuple}
    return interleaved_medians(calls, torch.device("cuda"), rounds=1, uncaptured=uncaptured)


def test_what_cannot_be_captured_is_not_tried(captures):
    times, notes = timed(other="it waits", missing="it is not here")
    assert list in captures.calls and tuple not in captures.calls
    assert notes == {"other": "launched by the host: it waits"}
    assert {"ours", "other"} <= set(times) and not captures.mended


def test_a_capture_that_fails_is_told_and_the_device_waited_for(captures):
    captures.refused.append(tuple)
    times, notes = timed()
    assert notes["other"].startswith("its capture failed (operation not permitted): launched by")
    assert {"ours", "other"} <= set(times)
    assert captures.mended == ["set_stream", "synchronize"]


def test_ours_must_be_fit_for_capture(captures):
    captures.refused.append(list)
    with pytest.raises(RuntimeError, match="not permitted"):
        timed()
    assert captures.mended == ["set_stream", "synchronize"]

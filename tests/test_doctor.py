"""``ivn doctor`` tells what works, and for the rest why not and what to do."""

import json
import sys
from pathlib import Path

import pytest

from ivn import doctor as module
from ivn.doctor import doctor
from ivn.media.decode import BACKENDS
from ivn.ops import _library

pytest.importorskip("av")
# Loads packages of others, whose warnings are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

REBUILD = "pip install --force-reinstall --no-deps ."


@pytest.fixture
def diagnose(capsys):
    """Runs the doctor: exit code and, by name, the checks."""

    def run():
        _library._library.cache_clear()
        _library._function.cache_clear()
        code = doctor(json=True)
        found = json.loads(capsys.readouterr().out)
        assert found["core_works"] == (code == 0)
        return code, {check["name"]: check for check in found["checks"]}

    yield run
    _library._library.cache_clear()
    _library._function.cache_clear()


def test_the_core_works_here(diagnose):
    code, checks = diagnose()
    assert code == 0
    core = {name for name, check in checks.items() if check["core"]}
    assert core == {"torch", "numpy", "safetensors", "PyAV", "libivn.so on CPU"}


def test_all_back_ends_are_listed(diagnose):
    _, checks = diagnose()
    assert {"libivn.so on CUDA", "Triton", "libnvcuvid"} <= set(checks)
    assert {backend.library for backend in BACKENDS.values()} <= set(checks)
    assert {"flash-attn", "xformers", "FlexAttention"} <= set(checks)


def test_what_extras_bring_is_listed_with_their_names(diagnose):
    _, checks = diagnose()
    for name in (
        "scikit-learn (the demo's probe)",
        "TensorBoard (run.tensorboard)",
        "VizDoom (ivn data render)",
        "timm (DINOv2, CLIP, SigLIP)",
    ):
        assert checks[name]["usable"] or checks[name]["fix"].startswith("pip install 'ivn[")


def test_what_does_not_work_has_a_reason_and_a_remedy(diagnose):
    _, checks = diagnose()
    assert [name for name, check in checks.items() if not check["detail"]] == []
    assert [name for name, check in checks.items() if check["usable"] == bool(check["fix"])] == []


def without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


def without_library(monkeypatch):
    monkeypatch.setattr(_library, "PATH", Path("/none/libivn.so"))


def with_an_older_library(monkeypatch):
    monkeypatch.setattr(_library, "HEADER", Path(__file__))  # any other file


def with_an_old_torch(monkeypatch):
    real = module.version
    monkeypatch.setattr(module, "version", lambda n: "2.4.1" if n == "torch" else real(n))


@pytest.mark.parametrize(
    ("harm", "name", "fix"),
    [
        (without_pyav, "PyAV", "pip install av"),
        (without_library, "libivn.so on CPU", REBUILD),
        (with_an_older_library, "libivn.so on CPU", REBUILD),
        (with_an_old_torch, "torch", "pip install 'torch>=2.11'"),
    ],
)
def test_a_broken_core_is_named_and_fails(harm, name, fix, diagnose, monkeypatch):
    harm(monkeypatch)
    code, checks = diagnose()
    assert code == 1
    broken = {name: c["fix"] for name, c in checks.items() if c["core"] and not c["usable"]}
    assert broken == {name: fix}


def test_a_missing_extra_is_no_failure_and_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert doctor() == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "The core works."
    assert "to fix: pip install 'ivn[hf]'" in printed
    assert printed.isascii() and "\x1b" not in printed  # a pipe gets plain lines


def test_a_terminal_gets_a_table_with_the_commands_whole(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "220")
    assert doctor() == 0
    printed = capsys.readouterr().out
    assert "pip install 'ivn[hf]'" in printed and "│" in printed

"""`benchmarks/gpu.sh` without a GPU: parts fit their time, and what was found is brought home."""

import ast
import functools
import os
import re
import signal
import subprocess
import tarfile
import time
from types import SimpleNamespace

import pytest
from torch.autograd import DeviceType

from ivn.benchmarks.harness import kernel_times
from ivn.benchmarks.ops.run import NOUNS
from tests.conftest import OPTIONAL
from tests.processes import ROOT, run_code

SCRIPT = ROOT / "benchmarks" / "gpu.sh"
# Stands for the Python of the machine: says what it was asked for, and does it in no time.
PYTHON = """#!/bin/sh
case "$*" in
  *"-m pytest"*) echo "$@"; exec {tests} ;;
  *"pip install ."*) {pip} ;;
  *) echo "$@" ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A function: the script started with arguments, where its tools are false ones."""
    tools = tmp_path / "tools"
    tools.mkdir()

    def start(*arguments, tests="true", pip="true", nvidia_smi="true"):
        scripts = {
            "python": PYTHON.format(tests=tests, pip=pip),
            "nvidia-smi": f"#!/bin/sh\n{nvidia_smi}\n",
            "nvcc": "#!/bin/sh\n",
        }
        scripts["compute-sanitizer"] = '#!/bin/sh\necho "$@"\n'
        for name, script in scripts.items():
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        environment = os.environ | {"PYTHON": str(tools / "python"), "IVN_REQUIRE_GPU": "0"}
        environment["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [str(SCRIPT), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def brought_home(folder):
    """The one file in ``folder``, as the texts of what is in it."""
    assert [file.name for file in folder.iterdir()] == ["results.tar.gz"]
    with tarfile.open(folder / "results.tar.gz") as archive:
        members = [member for member in archive if member.isfile()]
        return {
            member.name.removeprefix("./"): archive.extractfile(member).read().decode()
            for member in members
        }


def test_parts_are_short_and_the_first_fit_their_deadline():
    said = subprocess.run([str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    seconds = {
        name: int(limit) for name, limit in re.findall(r"^  (\S+) (\d+) s$", said.stdout, re.M)
    }
    (listed,) = re.findall(r"^  --first +run, in 6 minutes: (.*)$", said.stdout, re.M)
    first = listed.split()
    assert all(limit < 90 for name, limit in seconds.items() if name not in first)
    text = SCRIPT.read_text()
    (deadline,) = re.findall(r"deadline=(\d+) ;;", text)
    steps = [
        int(limit) for limit in re.findall(r"^ *step (\d+) (?:build|wheels|doctor)", text, re.M)
    ]
    assert len(steps) == 3
    assert sum(steps) + sum(seconds[name] for name in first) <= int(deadline) < 6 * 60 - 10


def test_every_operation_is_measured_and_each_kernel_in_cuda_checked():
    said = subprocess.run([str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    parts = re.findall(r"^  (ops|memcheck|racecheck)-(\S+) 85 s$", said.stdout, re.M)
    files = {file.stem: file.read_text() for file in sorted((ROOT / "csrc").glob("*.cu"))}
    assert parts == [
        *(("ops", noun) for noun in NOUNS),
        *(("memcheck", noun) for noun in files),
        *(("racecheck", noun) for noun, text in files.items() if "__shared__" in text),
    ]


def test_a_dry_run_of_parts_leaves_one_archive_that_says_so(machine, tmp_path):
    out, wheels = tmp_path / "out", tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "av-1-py3-none-any.whl").touch()
    options = ["--dry", "--only", "tests-compile,racecheck", "--wheels", str(wheels)]
    run = machine(*options, "--out", str(out))
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 0, said
    found = brought_home(out)
    lines = [re.sub(r" \(\d+ s\)", "", line) for line in found["summary.txt"].splitlines()]
    assert lines[0] == "--dry: no GPU is used, nothing is measured"
    ran = [line.split()[1] for line in lines if line.startswith("ok ")]
    # In the order of the list, whatever the order asked for.
    assert ran == [
        *("wheels", "build", "doctor", "tests-compile", "racecheck-masking", "racecheck-patches")
    ]
    assert "--no-index --no-deps" in found["wheels.log"] and str(wheels) in found["wheels.log"]
    assert (
        "--collect-only" in found["tests-compile.log"]
        and "-k compile" in found["tests-compile.log"]
    )
    assert "--tool racecheck" in found["racecheck-masking.log"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--first"], ["step-stage1-large", "step-stage2-large", "tests"]),
        (["--only", "tests"], ["tests"]),
        (["--only", "racecheck,plain"], ["plain-", "racecheck-"]),
    ],
)
def test_a_part_is_itself_alone_and_a_beginning_all_that_begin_so(
    machine, tmp_path, options, expected
):
    run = machine("--dry", *options, "--out", str(tmp_path / "out"))
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 0, said
    ran = re.findall(r"^ok +(\S+)", said, re.M)
    assert ran[:2] == ["build", "doctor"]
    listed = subprocess.run([str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    parts = re.findall(r"^  (\S+) \d+ s$", listed.stdout, re.M)
    assert ran[2:] == [
        part
        for name in expected
        for part in parts
        if part == name or (name.endswith("-") and part.startswith(name))
    ]


def test_nothing_is_tried_without_a_build(machine, tmp_path):
    run = machine("--dry", "--only", "tests", "--out", str(tmp_path / "out"), pip="exit 7")
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 1 and "FAILED  build with exit code 7" in said
    assert "tests" not in brought_home(tmp_path / "out")["summary.txt"]


def test_what_was_found_is_there_when_it_is_cut_off(machine, tmp_path):
    out = tmp_path / "out"
    run = machine("--dry", "--only", "tests", "--out", str(out), tests="sleep 60")
    for line in run.stdout:
        if line.startswith("ok      doctor"):
            break
    time.sleep(0.5)  # until the tests run
    began = time.monotonic()
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=20)[0]
    assert run.returncode == 128 + signal.SIGTERM and time.monotonic() - began < 10
    assert "FAILED  tests: stopped after" in said
    assert "FAILED  tests: stopped after" in brought_home(out)["summary.txt"]


def test_a_failing_step_is_told_and_does_not_stop_the_others(machine, tmp_path):
    out = tmp_path / "out"
    run = machine(
        "--dry", "--only", "tests-opcheck,memcheck-random", "--out", str(out), tests="false"
    )
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 1
    assert "FAILED  tests-opcheck with exit code 1" in said and "ok      memcheck-random" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "tests,mist", "--out", "x"], "no part mist; --help lists them"),
        (["--only", "", "--out", "x"], "--only names no part; --help lists them"),
        (["--out", "x", "--only"], "--only names no part; --help lists them"),
        (["--out"], "usage: benchmarks/gpu.sh"),
        (["--fast", "--out", "x"], "unknown argument --fast"),
        (["--out", "x"], "no GPU here: nvidia-smi does not run"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_built(machine, options, said):
    run = machine(*options, nvidia_smi="exit 9")
    assert said in run.communicate(timeout=20)[0] and run.returncode == 2


# Where modules of ours lie: the first name that fits.
HOMES = {"ivn.kernels": "kernels", "ivn.benchmarks": "benchmarks", "ivn": "ivn", "tests": "tests"}


def source(dotted):
    """The file of a module of ours, None for others'."""
    for name, folder in HOMES.items():
        if dotted == name or dotted.startswith(f"{name}."):
            place = ROOT.joinpath(folder, *dotted.removeprefix(name).split(".")[1:])
            files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
            return next((file for file in files if file.is_file()), None)
    return None


@functools.cache
def what_happens(dotted):
    """Returns the effects of importing a module: ("import" or "skip without", name), in order."""
    file = source(dotted)
    package = dotted.split(".") if file.name == "__init__.py" else dotted.split(".")[:-1]
    found = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found += [("import", alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            members = [f"{base}.{alias.name}" for alias in node.names]
            found += [("import", name) for name in (base, *members) if name == base or source(name)]
        elif isinstance(node, ast.Expr | ast.Assign):
            match node.value:
                case ast.Call(func=ast.Attribute(attr="importorskip"), args=[argument, *_]):
                    found.append(("skip without", argument.value))
    return found


def needed_at_once(dotted):
    """Optional packages that a module imports before it says that it is skipped without them."""
    guarded, seen, needed = set(), set(), []

    def visit(name):
        for module in (name.rsplit(".", up)[0] for up in range(name.count("."), -1, -1)):
            if module.startswith(OPTIONAL) and module.split(".")[0] not in guarded:
                needed.append(module)
            elif module not in seen and source(module):
                seen.add(module)
                for event, other in what_happens(module):
                    if event == "import":
                        visit(other)
                    else:
                        guarded.add(other.split(".")[0])

    visit(dotted)
    return needed


def test_files_that_gpu_tests_are_collected_from_import_what_a_bare_machine_has():
    """One other import at the top of a file would end all tests of a GPU."""
    found = {}
    for path in collected_on_a_bare_machine():
        files = [ROOT / path] if path.endswith(".py") else (ROOT / path).glob("*.py")
        for file in files:
            dotted = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[dotted] = needed_at_once(dotted.removesuffix(".__init__"))
    assert len(found) > 30 and {name: lacks for name, lacks in found.items() if lacks} == {}


# Python that does not find what a bare machine may lack, collecting the tests of a GPU.
BARE = """
import sys
from importlib.machinery import PathFinder
import pytest
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        lacks = path is None and name.startswith({lacks})
        return None if lacks else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
options = "-q --collect-only -m gpu -p no:cacheprovider"
sys.exit(pytest.main([*options.split(), *{files}]))
"""


def collected_on_a_bare_machine():
    """The files that gpu.sh has pytest read."""
    paths = re.search(r"^ *(tests/ops tests/stages .*\.py) ", SCRIPT.read_text(), re.M).group(1)
    expand = ["bash", "-c", f"echo {paths}"]
    done = subprocess.run(expand, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.split()


@pytest.mark.soak
def test_they_are_collected_without_what_a_bare_machine_lacks():
    code = BARE.format(lacks=OPTIONAL, files=collected_on_a_bare_machine())
    said = run_code(code, IVN_REQUIRE_GPU="0", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert int(re.search(r"(\d+)/\d+ tests collected", said).group(1)) > 550


def test_every_file_with_a_test_for_a_gpu_is_among_them():
    needs_gpu = re.compile(r"mark\.gpu|^def test_\w+\([^)]*\bdevice\b", re.M)
    files = (ROOT / "tests").rglob("test_*.py")
    found = {file.relative_to(ROOT) for file in files if needs_gpu.search(file.read_text())}
    # Those with a GPU decoder run beside the benchmark of decoding.
    run = [
        *collected_on_a_bare_machine(),
        "tests/data/loader/test_dali_feeder.py",
        "tests/media/decode",
    ]
    others = {"test_gpu.py", "test_run.py"}  # they name devices, and use none
    left = [file for file in found if not any(file.is_relative_to(path) for path in run)]
    assert {file.name for file in left} <= others


def event(key, device, own, *, operator=0.0, annotation=False):
    return SimpleNamespace(
        key=key,
        count=6,
        device_type=device,
        is_user_annotation=annotation,
        self_device_time_total=own,
        self_cpu_time_total=operator,
    )


def test_time_is_that_of_kernels_not_again_of_what_launched_them():
    events = [
        event("aten::mm", DeviceType.CPU, 3000.0, operator=50.0),
        event("gemm_kernel", DeviceType.CUDA, 3000.0),
        event("flash_fwd_kernel", DeviceType.CUDA, 9000.0),
        event("a range", DeviceType.CUDA, 12000.0, annotation=True),
    ]
    found = kernel_times.rows(events, cuda=True, rounds=3)
    assert [row["name"] for row in found] == ["flash_fwd_kernel", "gemm_kernel"]
    assert found[1] == {"name": "gemm_kernel", "calls": 2, "milliseconds": 1.0, "share": 0.25}
    (operator,) = kernel_times.rows(events, cuda=False, rounds=3)
    assert (operator["name"], operator["share"]) == ("aten::mm", 1.0)

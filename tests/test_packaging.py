"""What gets installed, and that it can be built where a compiler is all there is."""

import ctypes
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import ivn
from tests.minimum import lowest
from tests.processes import ROOT

PACKAGE = Path(ivn.__file__).parent
SOURCES = [
    *["pyproject.toml", "setup.py", "CMakeLists.txt", "MANIFEST.in", "README.md", "LICENSE"],
    *["ivn", "kernels", "benchmarks", "csrc"],
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what the build reads, so that nothing is written into the repository."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    return copy


def run(*command, cwd, **environment):
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_timm_is_one_that_does_not_unpickle():
    # The first whose loader of folders reads weights alone.
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras["timm"] == ["timm>=1.0.26"]


def test_what_it_needs_has_lower_bounds_that_can_be_tested():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    versions = dict(bound.split("==") for bound in lowest())
    assert versions["torch"] == "2.11" and versions["cmake"] == "3.24"
    assert [line for line in stated if re.match(r"[\w-]+", line)[0] not in versions] == []


def test_what_is_checked_is_the_working_tree_not_a_copy_of_it(tmp_path):
    for target in ("check", "soak"):
        lines = run("make", "-n", target, f"VENV={tmp_path}", cwd=ROOT).splitlines()
        asked, tested = (
            next(number for number, line in enumerate(lines) if words in line)
            for words in ("import ivn", "/pytest ")
        )
        assert asked < tested
    (tmp_path / "copy" / "ivn").mkdir(parents=True)
    (tmp_path / "copy" / "ivn" / "__init__.py").touch()
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    for installed, done in ((ROOT, ""), (tmp_path / "copy", "-m pip install -e .[test]")):
        python.write_text(
            "#!/bin/sh\n"
            'if [ "$2" = pip ]; then echo "$@"; exit; fi\n'
            f'PYTHONPATH={installed} exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        assert run("make", "-s", "in-place", f"VENV={tmp_path}", cwd=ROOT).strip() == done


def test_any_python_can_use_the_build():
    # The metadata in the repository, of an installation in place, is no wheel's.
    found = (d.read_text("WHEEL") for d in importlib.metadata.distributions(name="ivn"))
    tags = next(filter(None, found))
    assert "Tag: py3-none-" in tags and "py3-none-any" not in tags


def test_the_command_and_the_data_are_installed():
    commands = importlib.metadata.entry_points(group="console_scripts", name="ivn")
    assert [command.value for command in commands] == ["ivn.cli:main"]
    assert (PACKAGE / "libivn.so").is_file() and (PACKAGE / "py.typed").is_file()
    data = [*(ROOT / "ivn/assets").rglob("*.*"), *(ROOT / "ivn/report/page").glob("*.[cj]s*")]
    files = {path.relative_to(ROOT / "ivn") for path in data}
    assert files and [str(path) for path in files if not (PACKAGE / path).is_file()] == []


def started_in(folder, *arguments):
    """Python as a user starts it there: the folder comes before what is installed."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-B", *arguments]
    return subprocess.run(command, cwd=folder, env=ours, capture_output=True, text=True)


def test_sources_found_before_the_installed_package_are_told_as_such(sources):
    remedy = "start Python in another folder, or install in place: pip install -e ."
    said = f"Python has found the sources in {sources} before the installed package"
    code = "from ivn.ops import _library; _library.build()"
    lines = started_in(sources, "-c", code).stderr.splitlines()
    assert lines[-1] == f"ivn.errors.LibraryError: {said}: {remedy}"
    assert not any("During handling" in line for line in lines)
    # Started elsewhere, the same Python has the library.
    elsewhere = started_in(sources.parent, "-c", code)
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")
    doctor = started_in(sources, "-m", "ivn", "doctor")
    assert doctor.returncode == 1
    assert f"NO   core       libivn.so on CPU: {said}; to fix: {remedy}" in doctor.stdout


def test_sources_alone_are_to_be_built(sources, tmp_path):
    # -S: nothing that is installed is found, but for these links to all that is not ours.
    for site in (Path(folder) for folder in sys.path if folder.endswith("site-packages")):
        for installed in site.iterdir():
            if "ivn" not in installed.name and not (tmp_path / installed.name).exists():
                (tmp_path / installed.name).symlink_to(installed)
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r}); "
        "from ivn.ops import _library; _library.build()"
    )
    said = started_in(sources, "-S", "-c", code).stderr
    assert "cannot load" in said and "before the installed package" not in said


def test_version_is_told_once():
    assert ivn.__version__ == importlib.metadata.version("ivn")


@pytest.mark.slow
def test_a_source_distribution_gives_a_whole_wheel(sources, tmp_path):
    """Source distribution, unpacked elsewhere, to wheel, without network."""
    pytest.importorskip("setuptools", minversion="70.1")
    if not (shutil.which("cmake") and shutil.which("ninja")):
        pytest.skip("no cmake or no ninja")
    # Modules that a release has dropped must not come back from an earlier build.
    (sources / "build/lib/ivn").mkdir(parents=True)
    (sources / "build/lib/ivn/dropped.py").touch()
    run(sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path), cwd=sources)
    (archive,) = tmp_path.glob("ivn-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / archive.name.removesuffix(".tar.gz")
    shutil.copytree(sources / "build", folder / "build")

    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    settings = {"CMAKE_ARGS": "-DIVN_WITH_CUDA=OFF"}
    run(*pip, "-w", str(tmp_path), str(folder), cwd=tmp_path, **settings)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"ivn-{ivn.__version__}-py3-none-")
    packed = set(zipfile.ZipFile(wheel).namelist())

    expected = {"ivn/libivn.so", "ivn/py.typed"}
    for directory, name in ((sources / "ivn", "ivn"), (sources / "kernels", "ivn/kernels")):
        files = [path for path in directory.rglob("*") if path.is_file()]
        expected |= {f"{name}/{path.relative_to(directory).as_posix()}" for path in files}
    benchmarks = sources / "benchmarks"
    expected |= {
        f"ivn/benchmarks/{file.relative_to(benchmarks)}" for file in benchmarks.rglob("*.py")
    }
    assert {path for path in packed if ".dist-info/" not in path} == expected


def library(sources, build, *settings, **environment) -> tuple[ctypes.CDLL, str]:
    """``libivn.so`` built in the folder ``build``, and what CMake said."""
    if not shutil.which("cmake"):
        pytest.skip("no cmake")
    strict = [*settings, "-DIVN_WERROR=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    said = run("cmake", "-S", str(sources), "-B", str(build), *strict, cwd=build, **environment)
    run("cmake", "--build", str(build), cwd=build)
    built = ctypes.CDLL(str(build / "libivn.so"))
    built.ivn_cuda_archs.restype = ctypes.c_char_p
    return built, said


def test_a_broken_cuda_compiler_leaves_the_cpu_part(sources, tmp_path):
    broken = tmp_path / "nvcc"
    broken.write_text("#!/bin/sh\necho unsupported host compiler >&2\nexit 1\n")
    broken.chmod(0o755)
    built, said = library(sources, tmp_path, CUDACXX=str(broken))
    assert "No working CUDA compiler: building the CPU part alone" in said
    assert built.ivn_cuda_archs() == b"" and built.ivn_cuda_version() == 0
    assert not hasattr(built, "ivn_gather_tokens_cuda")


@pytest.mark.soak
def test_builds_without_openmp(sources, tmp_path):
    off = ["-DIVN_WITH_CUDA=OFF", "-DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON"]
    built, _ = library(sources, tmp_path, *off)
    assert built.ivn_openmp() == 0
    source, index, kept = (ctypes.c_int64 * 3)(7, 8, 9), (ctypes.c_int64 * 1)(2), ctypes.c_int64()
    sizes = [ctypes.c_int64(size) for size in (1, 3, 1, 8)]
    assert built.ivn_gather_tokens_cpu(source, index, ctypes.byref(kept), *sizes, 4) == 0
    assert kept.value == 9

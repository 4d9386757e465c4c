"""Loads ``libivn.so``, the compiled part of ivn, at the first call, and calls its C functions."""

import ctypes
import functools
import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ivn.errors import LibraryError

from ._device import check_archs, check_gpu

# Operations are dispatched through Python, so that one library serves every torch. It costs 10 to
# 20 us a call on a CPU, which shows only on tensors below a few MB.
PATH = Path(__file__).parents[1] / "libivn.so"
REBUILD = "pip install --force-reinstall --no-deps ."
# The C interface: csrc/ implements it, and the library tells which version it was built with.
HEADER = Path(__file__).with_name("ivn.h")
_DUPLICATE_INDEX, _INDEX_OUT_OF_RANGE = -1, -3  # as in ivn.h
_NUMBERS: dict[str, Any] = {"int64_t": ctypes.c_int64, "uint32_t": ctypes.c_uint32}
_NUMBERS |= {"int": ctypes.c_int, "double": ctypes.c_double}
NORM_PARTS = 32  # IVN_NORM_PARTS of ivn.h
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # IVN_FLOAT32... of ivn.h


@dataclass(frozen=True)
class Build:
    """The way that ``libivn.so`` was built.

    Attributes:
        cuda_archs: compute capabilities, such as "80,90"; "" without CUDA.
        cuda_version: version of the CUDA runtime inside, such as 13000; 0 without CUDA.
        openmp: date of the OpenMP standard, such as 201511; 0 without OpenMP.
    """

    cuda_archs: str
    cuda_version: int
    openmp: int


def call(name: str, device: torch.device, *arguments: Tensor | float) -> None:
    """Runs the operation ``name`` of ivn.h on ``device``, with tensors as pointers.

    Tensors must be contiguous. A tensor that is not, and whose strides are arguments too, is given
    as its ``data_ptr()``.

    Raises:
        RuntimeError: the library or the device cannot run it.
    """
    kind = device.type
    function = _function(name, kind)
    plain = [_pointer(name, x) if isinstance(x, Tensor) else x for x in arguments]
    if len(plain) + 1 != len(function.argtypes):  # ctypes would pass those in excess
        raise TypeError(f"{name} takes {len(function.argtypes) - 1} arguments, got {len(plain)}")
    if kind == "cpu":
        code = function(*plain, torch.get_num_threads())
    else:
        op = _op(name)
        check_gpu(op, device)
        check_archs(op, device, _cuda_archs(), REBUILD)
        with torch.cuda.device(device):
            code = function(*plain, torch.cuda.current_stream().cuda_stream)
    if code:
        words = _library().ivn_error_string(code).decode()
        raise RuntimeError(f"{_op(name)} on {device}: {words}")


def _pointer(name: str, x: Tensor) -> int:
    """Returns a tensor's address; traced programs may pass tensors that are not contiguous."""
    if not x.is_contiguous():
        raise RuntimeError(
            f"{_op(name)}: a tensor {list(x.shape)} has strides {list(x.stride())}, expected a "
            "contiguous one"
        )
    return x.data_ptr()


def check_index(op: str, index: Tensor, count: int, name: str = "index") -> None:
    """Raises ValueError unless the rows of ``index`` ``[..., M]`` hold distinct values below count.

    A check on a GPU would stall the host. There it is made only under the environment variable
    ``IVN_CHECK_INDEX=1``, for which each index is copied to the host.
    """
    host = to_check(index)
    if host is None:
        return
    M, found = index.shape[-1], (ctypes.c_int64 * 2)()
    check = _function("ivn_check_index", "cpu")
    code = check(host.data_ptr(), found, host.numel() // M, M, count, 1)
    if code == 0:
        return
    row, value = found
    if code == _DUPLICATE_INDEX:
        raise ValueError(f"{op}: {name}[{row}] holds {value} twice, expected each at most once")
    assert code == _INDEX_OUT_OF_RANGE
    raise ValueError(f"{op}: {name}[{row}] holds {value}, expected 0 to {count - 1}")


def check_range(op: str, values: Tensor, count: int, name: str) -> None:
    """Raises ValueError unless ``values`` lie in ``[0, count)``; on GPUs as :func:`check_index`."""
    host = to_check(values)
    if host is None:
        return
    low, high = (int(bound) for bound in host.aminmax())
    if low < 0 or high >= count:
        raise ValueError(f"{op}: {name} holds {low} to {high}, expected 0 to {count - 1}")


def to_check(values: Tensor) -> Tensor | None:
    """Returns ``values`` on the host, contiguous; None where none are to be checked."""
    if values.device.type != "cpu":
        if os.environ.get("IVN_CHECK_INDEX") != "1":
            return None
        values = values.cpu()
    return values.contiguous() if values.numel() else None


def build() -> Build:
    """Returns the way that the library was built; LibraryError if it cannot be loaded."""
    library = _library()
    archs = library.ivn_cuda_archs().decode()
    return Build(archs, library.ivn_cuda_version(), library.ivn_openmp())


@functools.cache
def _cuda_archs() -> str:
    return build().cuda_archs


@functools.cache
def _function(name: str, device: str):
    function = getattr(_library(), f"{name}_{device}", None)
    if function is None:
        missing = f"{PATH} was built without {device.upper()}; see `ivn doctor`"
        raise RuntimeError(f"{_op(name)}: {missing}")
    return function


def _op(name: str) -> str:
    return name.removeprefix("ivn_")


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(PATH))
    except OSError as error:
        if not PATH.exists() and _is_compiled_elsewhere():
            why = f"Python has found the sources in {PATH.parents[1]} before the installed package"
            fix = "start Python in another folder, or install in place: pip install -e ."
            raise LibraryError(why, fix) from None
        raise LibraryError(f"cannot load {PATH} ({error})", REBUILD) from error
    digest: Any = getattr(library, "ivn_header_digest", lambda: b"")
    header = HEADER.read_bytes()
    digest.restype = ctypes.c_char_p
    if digest().decode() != hashlib.sha256(header).hexdigest():
        raise LibraryError(f"{PATH} was built with another version of {HEADER}", REBUILD)
    for name, (returned, arguments) in declared(header.decode()).items():
        if function := getattr(library, name, None):  # one without CUDA has those of the CPU alone
            function.restype, function.argtypes = returned, [kind for kind, _ in arguments]
    return library


def declared(header: str) -> dict[str, tuple[Any, list[tuple[Any, str]]]]:
    """Returns function -> (type of its result, (type, name) of each argument), as in ``header``.

    Types are those of ctypes. A type that is none of the library's is a KeyError.
    """
    pattern = r"([\w *]+)\b(ivn_\w+)\s*\(([^()]*)\)\s*;"
    return {
        name: (
            _ctype(returned),
            [
                (_ctype(argument.removesuffix(own)), own)
                for argument, own in re.findall(r"([\w\s*]+?\b(\w+))\s*(?:,|$)", inside)
                if own != "void"
            ],
        )
        for returned, name, inside in re.findall(pattern, re.sub("//.*", "", header))
    }


def _ctype(text: str) -> Any:
    words = [word for word in text.replace("*", " * ").split() if word not in ("const", "extern")]
    if words == ["char", "*"]:
        return ctypes.c_char_p
    return ctypes.c_void_p if words[-1] == "*" else _NUMBERS[words[0]]


def _is_compiled_elsewhere() -> bool:
    """Returns whether Python would find another ``ivn``, with its library, without this one."""
    here = Path(__file__).resolve().parents[1]
    path = [folder for folder in sys.path if Path(folder).resolve() != here.parent]
    # All finders are asked, since an installation in place is not on the path.
    specs = (finder.find_spec("ivn", path) for finder in sys.meta_path)
    origins = [Path(spec.origin).resolve() for spec in specs if spec is not None and spec.origin]
    folders = {origin.parent for origin in origins} - {here}
    return any((folder / PATH.name).exists() for folder in folders)

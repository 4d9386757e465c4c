"""Loads ``libivn.so``, the compiled part of ivn, at the first call, and calls its C functions."""

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ivn.errors import LibraryError

from ._device import check_archs, check_gpu

# Operations are dispatched through Python, so that one library serves every torch. It costs 10 to
# 20 us a call on a CPU, which shows only on tensors below a few MB.
PATH = Path(__file__).parents[1] / "libivn.so"
REBUILD = "pip install --force-reinstall --no-deps ."
_INTERFACE = 5  # IVN_INTERFACE of csrc/ivn.h
_POINTER, _SIZE, _INT, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double
_WORD = ctypes.c_uint32
_Found = _SIZE * 2  # a row and a value
_DUPLICATE_INDEX, _INDEX_OUT_OF_RANGE = -1, -3  # as in csrc/ivn.h

# The arguments of each operation in csrc/ivn.h but the last, which is the number of threads for
# ``_cpu`` and the stream for ``_cuda``.
_ARGUMENTS = {
    "ivn_check_index": [*[_POINTER] * 2, *[_SIZE] * 3],
    "ivn_gather_tokens": [*[_POINTER] * 3, *[_SIZE] * 4],
    "ivn_scatter_tokens": [*[_POINTER] * 4, *[_SIZE] * 4],
    "ivn_add_positions": [*[_POINTER] * 5, *[_SIZE] * 6, _INT, _INT],
    "ivn_add_positions_backward": [*[_POINTER] * 5, *[_SIZE] * 6, _INT],
    "ivn_place_tokens": [*[_POINTER] * 6, *[_SIZE] * 5, _INT],
    "ivn_place_tokens_backward": [*[_POINTER] * 6, *[_SIZE] * 6, _INT],
    "ivn_gather_patches": [*[_POINTER] * 3, *[_SIZE] * 5, _INT, _POINTER, _REAL, _INT, _INT],
    "ivn_sample_tokens": [*[_POINTER] * 3, *[_SIZE] * 4, _INT, _WORD, _INT],
    "ivn_hide_blocks": [*[_POINTER] * 2, *[_SIZE] * 3, *[_INT] * 4, _WORD],
    "ivn_open_tokens": [*[_POINTER] * 3, *[_SIZE] * 4, _INT, _WORD],
    "ivn_other_tokens": [*[_POINTER] * 2, *[_SIZE] * 3],
    "ivn_random_words": [*[_POINTER] * 2, *[_SIZE] * 2, _WORD],
    "ivn_normal": [*[_POINTER] * 2, *[_SIZE] * 2, _WORD, _INT],
    "ivn_rms_norm": [*[_POINTER] * 3, *[_SIZE] * 2, _REAL, _INT, _INT],
    "ivn_rms_norm_backward": [*[_POINTER] * 5, *[_SIZE] * 2, _REAL, _INT, _INT],
    "ivn_add_norm": [*[_POINTER] * 7, *[_SIZE] * 2, _REAL, _INT, _INT],
    "ivn_add_norm_backward": [*[_POINTER] * 11, *[_SIZE] * 2, _REAL, _INT, _INT],
    "ivn_noisy_target": [*[_POINTER] * 5, *[_SIZE] * 4, _WORD, _INT],
    "ivn_diffusion_loss": [*[_POINTER] * 7, *[_SIZE] * 3, _WORD, _INT],
    "ivn_diffusion_loss_backward": [*[_POINTER] * 8, *[_SIZE] * 3, _WORD, _INT],
    "ivn_qk_norm": [*[_POINTER] * 3, *[_SIZE] * 2, _REAL, _INT],
    "ivn_qk_norm_backward": [*[_POINTER] * 5, *[_SIZE] * 2, _REAL, _INT],
    "ivn_cosine_distance": [*[_POINTER] * 4, *[_SIZE] * 2, _REAL, _REAL, _INT, _INT],
    "ivn_cosine_distance_backward": [*[_POINTER] * 6, *[_SIZE] * 2, _REAL, _REAL, _INT, _INT],
    "ivn_modulate": [*[_POINTER] * 8, *[_SIZE] * 5, _REAL, _INT],
    "ivn_modulate_backward": [*[_POINTER] * 12, *[_SIZE] * 4, _REAL, _INT],
}


NORM_PARTS = 32  # IVN_NORM_PARTS of csrc/ivn.h
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # IVN_FLOAT32... of csrc/ivn.h


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
    """Runs the operation ``name`` of csrc/ivn.h on ``device``, with tensors as pointers.

    Tensors must be contiguous. A tensor that is not, and whose strides are arguments too, is given
    as its ``data_ptr()``.

    Raises:
        RuntimeError: the library or the device cannot run it.
    """
    kind = device.type
    function = _function(name, kind)
    plain = [_pointer(name, x) if isinstance(x, Tensor) else x for x in arguments]
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
    M, found = index.shape[-1], _Found()
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
    function.argtypes = [*_ARGUMENTS[name], _INT if device == "cpu" else _POINTER]
    function.restype = ctypes.c_int
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
    interface = getattr(library, "ivn_interface", lambda: 0)()
    if interface != _INTERFACE:
        why = f"{PATH} has interface {interface}, expected {_INTERFACE}"
        raise LibraryError(why, REBUILD)
    library.ivn_error_string.restype = ctypes.c_char_p
    library.ivn_cuda_archs.restype = ctypes.c_char_p
    return library


def _is_compiled_elsewhere() -> bool:
    """Returns whether Python would find another ``ivn``, with its library, without this one."""
    here = Path(__file__).resolve().parents[1]
    path = [folder for folder in sys.path if Path(folder).resolve() != here.parent]
    # All finders are asked, since an installation in place is not on the path.
    specs = (finder.find_spec("ivn", path) for finder in sys.meta_path)
    origins = [Path(spec.origin).resolve() for spec in specs if spec is not None and spec.origin]
    folders = {origin.parent for origin in origins} - {here}
    return any((folder / PATH.name).exists() for folder in folders)

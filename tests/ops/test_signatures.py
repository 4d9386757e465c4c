"""Python calls the compiled library as ivn/ops/ivn.h declares it, and has the same constants."""

import ctypes
import re
from pathlib import Path

import pytest
import torch

from ivn.errors import LibraryError
from ivn.ops import _library
from ivn.ops._library import call, declared
from ivn.ops.patches import Layout
from tests.processes import ROOT

HEADER = _library.HEADER.read_text()
FUNCTIONS = declared(HEADER)
# The last argument of each operation: what a device's version computes with.
LAST = {"cpu": (ctypes.c_int, "threads"), "cuda": (ctypes.c_void_p, "stream")}


def device_of(name: str) -> str:
    """Returns the device that a function computes on; "" for those about the library."""
    end = name.rpartition("_")[2]
    return end if end in LAST else ""


def test_a_header_is_read_with_all_kinds_of_arguments():
    header = """
    // ivn_old(int a); was before
    const char* ivn_words(void);
    double ivn_add_cpu(const void* rows, const int64_t* index,
                       int64_t B, uint32_t word, double eps, int threads);
    """
    pointer = ctypes.c_void_p
    kinds = [pointer, pointer, ctypes.c_int64, ctypes.c_uint32, ctypes.c_double, ctypes.c_int]
    names = ["rows", "index", "B", "word", "eps", "threads"]
    assert declared(header) == {
        "ivn_words": (ctypes.c_char_p, []),
        "ivn_add_cpu": (ctypes.c_double, list(zip(kinds, names, strict=True))),
    }
    with pytest.raises(KeyError, match="float"):
        declared("int ivn_add_cpu(float eps);")


def test_every_function_of_the_header_is_read_and_called_as_it_says():
    assert len(FUNCTIONS) == HEADER.count(");") >= 40
    library = _library._library()
    for name, (returned, arguments) in FUNCTIONS.items():
        if hasattr(library, name):
            function = getattr(library, name)
            assert function.restype == returned, name
            assert list(function.argtypes) == [kind for kind, _ in arguments], name
        else:
            assert device_of(name) == "cuda" and not _library.build().cuda_archs


def test_the_versions_of_an_operation_take_the_same_but_for_the_last():
    for name, (returned, arguments) in FUNCTIONS.items():
        device = device_of(name)
        if device:
            assert (returned, arguments[-1]) == (ctypes.c_int, LAST[device]), name
        if device == "cuda":
            assert FUNCTIONS[f"{name[:-5]}_cpu"][1][:-1] == arguments[:-1], name


def test_definitions_name_their_arguments_in_the_order_of_the_header():
    """The compiler compares types alone, and does not see that two sizes have changed places."""
    defined = {}
    for file in sorted((ROOT / "csrc").glob("*.c*")):
        text = re.sub(r"\[\[\w+\]\]|;", "", file.read_text())
        defined |= declared(text.replace("{", ";"))
    assert defined == FUNCTIONS


def test_an_operation_gets_as_many_arguments_as_it_takes():
    x = torch.zeros(2, dtype=torch.int64)
    for given in ((x, x, 1, 2), (x, x, 1, 2, 2, 1)):
        with pytest.raises(TypeError, match=r"ivn_other_tokens takes 5 arguments, got [46]"):
            call("ivn_other_tokens", x.device, *given)


@pytest.mark.parametrize(
    ("right", "changed"),
    [
        ("int64_t width, uint32_t purpose", "uint32_t purpose"),
        ("double norm_eps, double eps", "double eps, double norm_eps"),
        ("#define IVN_TARGET_ROWS 1", "#define IVN_TARGET_ROWS 2"),
        ("#ifdef __cplusplus\n}", "int ivn_more_cuda(void* stream);\n#ifdef __cplusplus\n}"),
    ],
)
def test_a_library_built_with_another_header_is_refused(tmp_path, monkeypatch, right, changed):
    assert right in HEADER
    header = tmp_path / "ivn.h"
    header.write_text(HEADER.replace(right, changed))
    monkeypatch.setattr(_library, "HEADER", header)
    with pytest.raises(LibraryError, match=r"libivn.so was built with another version of .*: pip"):
        _library._library.__wrapped__()


def test_a_library_from_before_there_were_digests_is_refused(monkeypatch):
    monkeypatch.setattr(_library, "PATH", Path(torch._C.__file__))
    with pytest.raises(LibraryError, match=r"_C.*was built with another version of \S*ivn\.h"):
        _library._library.__wrapped__()


def test_constants_are_the_header_s():
    found = dict(re.findall(r"^#define (IVN_\w+)\s+\\?\s*\(?(-?\d+)", HEADER, re.M))
    here = {
        "IVN_DUPLICATE_INDEX": _library._DUPLICATE_INDEX,
        "IVN_INDEX_OUT_OF_RANGE": _library._INDEX_OUT_OF_RANGE,
        "IVN_NORM_PARTS": _library.NORM_PARTS,
        "IVN_FLOAT32": _library.TYPES[torch.float32],
        "IVN_FLOAT64": _library.TYPES[torch.float64],
        "IVN_BFLOAT16": _library.TYPES[torch.bfloat16],
        "IVN_EMBEDDING_ROWS": Layout.EMBEDDING,
        "IVN_TARGET_ROWS": Layout.TARGET,
    }
    # Python has their words from the library.
    told = {"IVN_UNKNOWN_TYPE", "IVN_TOO_MANY_TOKENS"}
    assert found.keys() - told == here.keys()
    assert {name: int(found[name]) for name in here} == here

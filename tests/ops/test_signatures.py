"""Python calls the compiled library as csrc/ivn.h declares it, and has the same constants."""

import ctypes
import re
from types import SimpleNamespace

import pytest
import torch

from ivn.ops import _library
from ivn.ops.patches import Layout
from tests.processes import ROOT

HEADER = (ROOT / "csrc" / "ivn.h").read_text()
NUMBERS = {"int64_t": ctypes.c_int64, "uint32_t": ctypes.c_uint32}
NUMBERS |= {"int": ctypes.c_int, "double": ctypes.c_double}
# The last argument of each operation: what a device's version computes with.
LAST = {"cpu": (ctypes.c_int, "threads"), "cuda": (ctypes.c_void_p, "stream")}


def declared(text: str, end: str = ";") -> dict[str, tuple]:
    """Name -> (type of the result, ((type, name) of each argument, ...)), as ctypes knows types.

    Args:
        text: contents of a header or a source.
        end: character after the arguments: ";", or "{" for definitions.
    """
    text = re.sub(r"//.*|\[\[\w+\]\]|^#.*", "", text, flags=re.M)
    found = {}
    pattern = rf"([\w *]+)\b(ivn_\w+)\s*\(([^()]*)\)\s*\{end}"
    for returned, name, inside in re.findall(pattern, text):
        arguments = [one.strip() for one in inside.split(",") if one.strip() != "void"]
        parts = [re.fullmatch(r"(.*[\s*])(\w+)", argument, re.S).groups() for argument in arguments]
        found[name] = (ctype(returned), tuple((ctype(kind), own) for kind, own in parts))
    return found


def ctype(text: str) -> type:
    words = text.replace("*", " * ").split()
    words = [word for word in words if word not in ("const", "extern")]
    if words == ["char", "*"]:
        return ctypes.c_char_p
    return ctypes.c_void_p if words[-1] == "*" else NUMBERS[words[0]]


def believed(monkeypatch) -> dict[str, tuple]:
    """Operation and device -> (type of the result, types of arguments), as they are called."""
    functions = {}

    class Library:
        def __getattr__(self, name):
            return functions.setdefault(name, SimpleNamespace())

    monkeypatch.setattr(_library, "_library", Library)
    for name in _library._ARGUMENTS:
        for device in LAST:
            _library._function.__wrapped__(name, device)
    return {name: (found.restype, tuple(found.argtypes)) for name, found in functions.items()}


def types_only(functions: dict[str, tuple]) -> dict[str, tuple]:
    """Returns the types of operations, in the form of `believed`."""
    return {
        name: (returned, tuple(kind for kind, _ in arguments))
        for name, (returned, arguments) in functions.items()
        if name.endswith(tuple(f"_{device}" for device in LAST))
    }


def differences(header: str, python: dict[str, tuple]) -> dict[str, tuple]:
    """Operation -> (what the header says, what Python believes), where they are not the same.

    An operation may have no version for a GPU: a Triton kernel stands for it.
    """
    said = types_only(declared(header))
    names = said.keys() | {name for name in python if name.endswith("_cpu")}
    pairs = {name: (said.get(name), python.get(name)) for name in sorted(names)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def test_operations_are_called_as_the_header_declares_them(monkeypatch):
    assert len(types_only(declared(HEADER))) >= 40
    assert differences(HEADER, believed(monkeypatch)) == {}


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("int64_t* found, int64_t B", "int64_t B, int64_t* found", "ivn_check_index_cpu"),
        ("int64_t width, uint32_t purpose", "uint32_t purpose", "ivn_noisy_target_cpu"),
        ("double norm_eps, double eps", "float norm_eps, double eps", "ivn_cosine_distance_cpu"),
        ("double norm_eps, double eps", "int norm_eps, double eps", "ivn_cosine_distance_cpu"),
        ("uint32_t purpose, int threads", "int64_t purpose, int threads", "ivn_random_words_cpu"),
        ("ivn_other_tokens_cpu(", "ivn_left_tokens_cpu(", "ivn_other_tokens_cpu"),
        ("int ivn_other_tokens_cuda(", "double ivn_other_tokens_cuda(", "ivn_other_tokens_cuda"),
        ("int64_t M,\n                         int threads", "int64_t M", "ivn_other_tokens_cpu"),
        ("#ifdef __cplusplus\n}", "int ivn_more_cuda(void* stream);\n", "ivn_more_cuda"),
    ],
)
def test_each_kind_of_mismatch_is_noticed(monkeypatch, right, wrong, named):
    assert right in HEADER
    try:
        found = differences(HEADER.replace(right, wrong), believed(monkeypatch))
    except KeyError as unknown:  # a type that no argument of ours has
        assert unknown.args == ("float",)
    else:
        assert named in found


def test_the_versions_of_an_operation_take_the_same_but_for_the_last():
    functions = declared(HEADER)
    for name, (returned, arguments) in functions.items():
        device = name.rpartition("_")[2]
        if device in LAST:
            assert (returned, arguments[-1]) == (ctypes.c_int, LAST[device]), name
        if device == "cuda":
            assert functions[f"{name[:-5]}_cpu"][1][:-1] == arguments[:-1], name


def test_definitions_name_their_arguments_in_the_order_of_the_header():
    """The compiler compares types alone, and does not see that two sizes have changed places."""
    defined = {}
    for file in sorted((ROOT / "csrc").glob("*.c*")):
        defined |= declared(file.read_text(), "{")
    assert defined == declared(HEADER)


def test_functions_about_the_library_return_what_is_declared():
    library = _library._library()
    functions = declared(HEADER)
    about = functions.keys() - types_only(functions).keys()
    assert len(about) == 5
    for name in about:
        assert getattr(library, name).restype == functions[name][0], name


def test_constants_are_the_header_s():
    found = dict(re.findall(r"^#define (IVN_\w+)\s+\\?\s*\(?(-?\d+)", HEADER, re.M))
    here = {
        "IVN_INTERFACE": _library._INTERFACE,
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

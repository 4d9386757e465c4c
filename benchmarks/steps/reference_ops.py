"""Replaces every operation of a model by its reference in plain PyTorch."""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from unittest.mock import patch

from torch.library import CustomOpDef

import ivn.ops


def replaced() -> dict[tuple[str, str], str]:
    """Returns (module, operator) -> reference, for every operator that has one.

    By the convention of ``ivn.ops`` ``_name`` is the operator and ``name_reference`` its reference,
    and public functions call it by its name in the module.
    """
    return {
        (module.__name__, name): f"{name[1:]}_reference"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, CustomOpDef) and hasattr(module, f"{name[1:]}_reference")
    }


@contextmanager
def reference_ops() -> Iterator[None]:
    """Makes ``ivn.ops`` compute by its references, with autograd's gradients, in the context."""
    with ExitStack() as stack:
        for (module_name, name), reference in replaced().items():
            module = importlib.import_module(module_name)
            stack.enter_context(patch.object(module, name, getattr(module, reference)))
        yield


def modules() -> list[ModuleType]:
    """Returns all modules of ``ivn.ops``."""
    found = pkgutil.iter_modules(ivn.ops.__path__, "ivn.ops.")
    return [importlib.import_module(module.name) for module in found]

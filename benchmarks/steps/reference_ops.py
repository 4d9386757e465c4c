"""The same model with every operation replaced by its reference in plain PyTorch."""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from unittest.mock import patch

from torch.library import CustomOpDef

import ivn.ops


def replaced() -> dict[tuple[str, str], str]:
    """(module, operator) -> its reference, for every operator that has one.

    The convention of ``ivn.ops``: ``_name`` is the operator, ``name_reference`` what it means, and
    public functions call it by its name in the module.
    """
    return {
        (module.__name__, name): f"{name[1:]}_reference"
        for module in _modules()
        for name, value in vars(module).items()
        if isinstance(value, CustomOpDef) and hasattr(module, f"{name[1:]}_reference")
    }


@contextmanager
def reference_ops() -> Iterator[None]:
    """While it lasts, ``ivn.ops`` computes by its references; gradients are plain autograd's."""
    with ExitStack() as stack:
        for (module_name, name), reference in replaced().items():
            module = importlib.import_module(module_name)
            stack.enter_context(patch.object(module, name, getattr(module, reference)))
        yield


def _modules() -> list[ModuleType]:
    found = pkgutil.iter_modules(ivn.ops.__path__, "ivn.ops.")
    return [importlib.import_module(module.name) for module in found]

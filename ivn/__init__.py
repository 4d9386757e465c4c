"""Pretraining of video encoders from raw video: the method of InternVideo-Next.

``import ivn`` loads nothing heavy; the functions below bring in torch when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_diffusion_decoder", "load_encoder", "load_frozen", "load_model"]

if TYPE_CHECKING:
    from .load import load_diffusion_decoder, load_encoder, load_frozen, load_model


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("ivn.load"), name)
    raise AttributeError(f"module 'ivn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

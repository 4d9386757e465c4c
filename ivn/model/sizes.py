"""Sizes of a model that its weights do not show, from their config.json or the caller."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoints import LATEST
from .formats import json_of

Size = int | tuple[int, int]
Sizes = Mapping[str, Any]  # some of NOT_IN_SHAPES

NOT_IN_SHAPES = ("image_size", "num_frames", "num_heads", "pool_heads")

CARD = "config.json"
# The release's spelling of these and of the depth, and ours.
_RELEASED = ("img_size", "num_frames", "num_heads", "attn_pool_num_heads", "depth")
_SIDES = "image_height, image_width"
_OURS = ("num_frames", "heads", "pool_heads", "depth")
_NAMES = (*NOT_IN_SHAPES, "depth")


def card_of(file: Path) -> Path | None:
    """Returns the ``config.json`` beside a file of weights, or beside DeepSpeed's ``latest``."""
    above = file.parent.parent
    folders = [file.parent, *([above] if (above / LATEST).is_file() else [])]
    return next((place / CARD for place in folders if (place / CARD).exists()), None)


def card_beside(file: Path) -> dict[str, Any]:
    """Returns the model in the file of :func:`card_of`, ours or the release's; {} without one.

    Raises:
        ValueError: the file describes no model.
    """
    card = card_of(file)
    if card is None:
        return {}
    try:
        content = json_of(card)
        if "model_config" in content:
            _check_table(content["model_config"], "model_config")
            return content
        model = content.get("config", {}).get("model", {})
        for name in ("encoder", "predictor"):
            _check_table(model.get(name, {}), f"config.model.{name}")
        return model
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{card} describes no model ({error}): fetch or save it again") from None


def sizes_of(file: Path, given: Sizes) -> dict[str, Any]:
    """Returns the ``given`` sizes, and those in the ``config.json`` beside the weights.

    Raises:
        ValueError: a size makes no sense, or the two differ.
    """
    recorded, card = _recorded(file), card_of(file)
    for name, value in given.items():
        _check(name, value, str(file), name)
        if name in recorded and _pair(recorded[name]) != _pair(value):
            raise ValueError(
                f"{file}: {name} is to be {value}, but the {CARD} beside it says "
                f"{recorded[name]}: leave it out, or correct {card}"
            )
    return recorded | dict(given)


def both_sides(size: Size) -> tuple[int, int]:
    """Returns height and width."""
    return (size, size) if isinstance(size, int) else size


def check_given(sizes: Sizes, where: str) -> None:
    """Checks sizes, which messages call by their names.

    Raises:
        ValueError: a size is not an integer of at least 1, or for images a pair of those.
    """
    for name, value in sizes.items():
        _check(name, value, where, name)


def _recorded(file: Path) -> dict[str, Any]:
    """Returns the sizes in the ``config.json`` beside the weights that shapes do not show."""
    content, card = card_beside(file), card_of(file)
    if "model_config" in content:
        found = {name: content["model_config"].get(name) for name in _RELEASED}
        spelling = dict(zip(_NAMES, _RELEASED, strict=True))
    else:
        ours = content.get("encoder", {})
        sides = [ours.get("image_height"), ours.get("image_width")]
        found = {_SIDES: None if None in sides else sides}
        found |= {name: ours.get(name) for name in _OURS}
        spelling = dict(zip(_NAMES, (_SIDES, *_OURS), strict=True))
    sizes = {name: found[theirs] for name, theirs in spelling.items() if found[theirs] is not None}
    for name, value in sizes.items():
        _check(name, value, str(card), spelling[name])
    return {name: tuple(v) if isinstance(v, list) else v for name, v in sizes.items()}


def _check(name: str, value: Any, where: str, field: str) -> None:
    if name == "image_size":
        sides = value if isinstance(value, (list, tuple)) else [value, value]
        good = len(sides) == 2 and all(map(_counts, sides))
        expected = "pixels of a side as a whole number, or [height, width]"
    else:
        good, expected = _counts(value), "a whole number of at least 1"
    if not good:
        raise ValueError(f"{where}: {field} is {value!r}, expected {expected}")


def _counts(value: Any) -> bool:
    return type(value) is int and value >= 1


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else tuple(value)


def _check_table(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {value!r}, expected a table")

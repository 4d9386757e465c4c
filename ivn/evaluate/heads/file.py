"""Heads on disk: NAME.safetensors holds the weights, NAME.json (the card) describes them."""

import json
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ivn.durable import new_file, why, write_text
from ivn.errors import DataError, WriteError
from ivn.evaluate.features.views import grid
from ivn.evaluate.heads.search import Fitted
from ivn.evaluate.objective import ONE_CLASS, SEVERAL_LABELS
from ivn.evaluate.results import RESULT, describe
from ivn.frozen import AT_RANDOM, LIBRARIES, RAW
from ivn.frozen.encoders import Frozen, Pool

from .fitted import Readout, from_state

FORMAT = 2  # format 1 has no multi_label: every video has one class
FOLDER = "heads"


@dataclass(frozen=True)
class SavedHead:
    """A head as :func:`load` reads it.

    Attributes:
        card: the JSON beside its weights.
        readout: the fitted head itself.
    """

    card: dict[str, Any]
    readout: Readout

    @property
    def encoder(self) -> str:
        """Name of the encoder that the head was fitted to."""
        return str(self.card["encoder"]["name"])

    @property
    def classes(self) -> list[str]:
        return list(self.card["classes"])

    @property
    def pool(self) -> Pool:
        return self.card["pool"]

    def check(self, frozen: Frozen) -> None:
        """Checks that ``frozen`` is the encoder that the head was fitted to.

        Raises:
            DataError: it has other sizes or other weights; the message names both.
        """
        own, other = self.card["encoder"], describe(frozen)
        for name, words in (
            ("width", "features of a token"),
            ("frames", "frames"),
            ("size", "pixels a side"),
            ("slots", "time slots"),
        ):
            if own[name] != other[name]:
                raise DataError(
                    f"the head was fitted to {own['name']} with {own[name]} {words}, but "
                    f"{frozen.name} has {other[name]}: give the encoder that it was fitted to"
                )
        if own["identity"] != other["identity"]:
            raise DataError(
                f"the head was fitted to {own['name']} ({own['identity'][:12]}), but {frozen.name} "
                f"has other weights ({other['identity'][:12]}): give the encoder that it was "
                "fitted to, with --encoder, or fit a new head"
            )
        if self.pool not in frozen.pools:
            raise DataError(
                f"the head's card says that it reads features {self.pool!r}, but {frozen.name} has "
                f"{', '.join(frozen.pools)}: the card was changed; fit a new head"
            )


def save(fitted: Fitted, folder: Path, *, facts: dict[str, Any]) -> Path:
    """Writes a head into ``folder`` under a new name, and returns the path of its weights.

    Args:
        fitted: the head.
        folder: folder of heads; it is created if needed.
        facts: facts of the result that the head is part of.

    Raises:
        DataError: it could not be written.
    """
    stem = re.sub(r"[^\w.-]+", "-", Path(fitted.encoder.name).name).strip("-.") or "encoder"
    name = f"{stem}-{fitted.head}"
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    files = (folder / f"{name}.safetensors" for name in names)
    path = next(file for file in files if not file.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The card first: weights that are there have one.
        with new_file(path, failures=(SafetensorError,)) as temporary:
            save_file(fitted.readout.state(), temporary)
            card = _card(fitted, facts) | {
                "weights_sha256": sha256(temporary.read_bytes()).hexdigest()
            }
            text = json.dumps(card, indent=2) + "\n"
            write_text(path.with_suffix(".json"), text, overwrite=True)
    except (OSError, WriteError) as error:
        raise DataError(f"{path} could not be written ({why(error, path)})") from error
    return path


def _card(fitted: Fitted, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": fitted.head,
        "encoder": describe(fitted.encoder) | {"name": _anywhere(fitted.encoder.name)},
        "pool": fitted.pool,
        "shape": list(fitted.shape),
        "classes": facts["classes"],
        "label": facts["label"],
        "multi_label": fitted.several,
        "views": {name: facts["views"][name] for name in ("clips", "crops")},
        "chosen": fitted.point,
        "grid": list(fitted.points),
        "validation": fitted.validation,
        "fitted_to": fitted.clips,
    }


def load(path: Path) -> SavedHead:
    """Reads a head.

    Args:
        path: its weights, its card, or the folder of a result, which stands for its best head.

    Raises:
        FileNotFoundError: there is no head.
        DataError: the head is damaged, or was changed.
    """
    head = _best(path) if path.is_dir() else path
    weights, card_file = head.with_suffix(".safetensors"), head.with_suffix(".json")
    for file in (weights, card_file):
        if not file.exists():
            raise FileNotFoundError(
                f"no head at {file}: expected NAME.safetensors with NAME.json beside it, or the "
                "folder of a result"
            )
    try:
        card = json.loads(card_file.read_text("utf-8"))
        if card["format"] not in (1, FORMAT):
            raise DataError(f"{card_file} has format {card['format']}, expected 1 or {FORMAT}")
        if card["format"] == 1:
            card["multi_label"] = False
        if sha256(weights.read_bytes()).hexdigest() != card["weights_sha256"]:
            raise DataError(f"{weights} is not the file that {card_file.name} was written for")
        _check_card(card)
        grid(card["views"]["clips"], card["views"]["crops"])
        readout = from_state(
            card["kind"],
            load_file(weights),
            card["shape"],
            len(card["classes"]),
            card["chosen"],
            SEVERAL_LABELS if card["multi_label"] else ONE_CLASS,
        )
    except DataError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise DataError(
            f"{card_file} and {weights.name} are not a head as it was written ({error})"
        ) from error
    return SavedHead(card, readout)


def _check_card(card: dict[str, Any]) -> None:
    """Checks that a card has every entry that is read later.

    Raises:
        KeyError, ValueError: an entry is not there, or is of another type.
    """
    kinds = {"name": str, "identity": str, "frames": int, "size": int, "slots": int, "width": int}
    encoder = card["encoder"]
    wrong = [name for name, kind in kinds.items() if not isinstance(encoder[name], kind)]
    if not isinstance(card["label"], str):
        wrong.append("label")
    if not isinstance(card["multi_label"], bool):
        wrong.append("multi_label")
    if card["pool"] not in get_args(Pool):
        wrong.append("pool")
    if not all(isinstance(name, str) for name in card["classes"]):
        wrong.append("classes")
    if wrong:
        raise ValueError(f"{', '.join(wrong)}")


def _best(folder: Path) -> Path:
    """Returns the path of the head that the result in ``folder`` names as its best."""
    file = folder / RESULT
    try:
        named = json.loads(file.read_text("utf-8"))["best_head"]
        if not isinstance(named, str) or Path(named).is_absolute() or ".." in Path(named).parts:
            raise ValueError
    except (OSError, ValueError, LookupError, TypeError):
        raise FileNotFoundError(
            f"no head in {folder}: expected a {RESULT} there that names its best head"
        ) from None
    return folder / named


def _anywhere(name: str) -> str:
    """Returns a name that means the same from any folder, as ``ivn.load.load_frozen`` reads it."""
    if name == RAW:
        return name
    if name.startswith(LIBRARIES):
        library, _, rest = name.partition(":")
        folder = rest.removesuffix(AT_RANDOM)
        tail = rest[len(folder) :]
        return f"{library}:{os.path.abspath(folder)}{tail}" if os.path.isdir(folder) else name
    return os.path.abspath(name) if os.path.exists(name) else name

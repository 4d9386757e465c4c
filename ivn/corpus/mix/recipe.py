"""Recipes of mixes: sources, their order and rules, as TOML files.

about = "..."
training_only = true
...
[[sources]]
name = "kinetics400"
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ivn import toml
from ivn.data.manifest.delimited import lines_in
from ivn.errors import DataError, RequestError

_FOLDER = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Wanted:
    """A source of a recipe.

    Attributes:
        name: name under which its manifest is given.
        weight: sampling weight of its rows.
        optional: whether the mix may be made without it.
    """

    name: str
    weight: float = 1.0
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight {self.weight}, expected more than 0")


@dataclass(frozen=True)
class Rename:
    """A class under another name: ``old`` becomes ``new``.

    Attributes:
        old: name in the manifests.
        new: name in the mix.
    """

    old: str
    new: str


@dataclass(frozen=True)
class Recipe:
    """The rules of a mix.

    Attributes:
        sources: sources in the order of their precedence: of copies, the first source's stays.
        about: description, with the publication.
        training_only: whether rows whose label ``split`` is ``val`` or ``test`` are held out, with
            all copies of them in any source, and all rows of their groups.
        one_source_a_group: whether rows are dropped whose group an earlier source has: clips of
            the same video of YouTube.
        classes: a file beside the recipe with the classes that labels may have, one a line; ""
            leaves labels as they are.
        renames: other names of labels that are not among the classes.
        class_names: names in the file of ``classes``.
    """

    sources: tuple[Wanted, ...]
    about: str = ""
    training_only: bool = False
    one_source_a_group: bool = False
    classes: str = ""
    renames: tuple[Rename, ...] = ()
    class_names: tuple[str, ...] = field(default=())

    def label(self, label: str) -> str:
        """Returns the name of a label in the mix; "" if the mix has none such."""
        if not self.class_names or label in self.class_names:
            return label
        renamed = next((one.new for one in self.renames if one.old == label), "")
        return renamed if renamed in self.class_names else ""


def shipped() -> list[str]:
    """Returns names of the recipes that come with the package."""
    return sorted(file.stem for file in _FOLDER.glob("*.toml"))


def read_recipe(name: str) -> Recipe:
    """Returns a recipe by its name among those shipped, or from a file that ends in .toml.

    Raises:
        DataError: there is none, or it makes no sense.
    """
    file = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not name.endswith(".toml") and name not in shipped():
        raise RequestError(
            f"{name}: no such recipe; there are {', '.join(shipped())}, or FILE.toml"
        )
    try:
        recipe = toml.loads(file.read_text(encoding="utf-8"), Recipe)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: no recipe that can be read ({reason})") from error
    except toml.ConfigError as error:
        raise DataError(f"{file}: {error}") from error
    names = [one.name for one in recipe.sources]
    if not names or len(set(names)) < len(names):
        raise DataError(f"{file}: sources are {', '.join(names)}, expected some, each once")
    if not recipe.classes:
        return recipe
    try:
        classes = [line.strip() for line in lines_in(file.parent / recipe.classes)]
    except DataError as error:
        raise DataError(f"{file}: classes = {recipe.classes!r}: {error}") from error
    return dataclasses.replace(recipe, class_names=tuple(filter(None, classes)))


def given_to(recipe: Recipe, manifests: Mapping[str, Path]) -> list[tuple[Wanted, Path]]:
    """Returns the recipe's sources with their manifests, in its order.

    Raises:
        DataError: one that is not optional is not given, or one is given that it does not have.
    """
    names = [one.name for one in recipe.sources]
    odd = [name for name in manifests if name not in names]
    lacking = [one.name for one in recipe.sources if not (one.optional or one.name in manifests)]
    if odd or lacking:
        told = ", ".join(f"{name}=M.parquet" for name in names)
        what = f"no source {odd[0]}" if odd else f"{', '.join(lacking)} not given"
        raise RequestError(f"the recipe has {what}; it takes {told}")
    return [(one, manifests[one.name]) for one in recipe.sources if one.name in manifests]

"""How the options of a command are written: once, as the fields of a frozen dataclass.

The type of a field is the type of the option, its default is the option's default, its entry in the
docstring is the help text, and an :class:`Option` in its annotation says how it looks when typed::

    @dataclass(frozen=True, kw_only=True)
    class Check:
        \"\"\"Decode every video of a manifest.

        Attributes:
            manifest: manifest of the videos.
            seconds: time limit per video, in seconds.
        \"\"\"

        manifest: Annotated[str, Positional("M.parquet")]
        seconds: Annotated[float, Option("S")] = 120.0

``ivn.cli`` makes the command line and docs/cli.md of it, and ``ivn.benchmarks`` a parser of the
standard library (:func:`parse`). This module and those that hold options import neither tyro nor
anything heavy: all of them are read for ``ivn --help``.
"""

import argparse
import dataclasses
import importlib
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

from ivn import docstring
from ivn.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """How an option looks on the command line.

    Attributes:
        metavar: name of the value in help texts; "" lists the choices, or takes none.
        short: another spelling, such as ``-o``.
        name: name of the option where it is not that of the field.
        unset: the default means that nothing was given, and help does not show it.
        positional: the value is typed without a name.
        commas: the values are typed as one word, with commas between them.
        repeated: the option may be typed several times, and all its values count.
    """

    metavar: str = ""
    short: str = ""
    name: str = ""
    unset: bool = False
    positional: bool = False
    commas: bool = False
    repeated: bool = False


@dataclass(frozen=True)
class Unset(Option):
    """An option whose default means that nothing was given."""

    unset: bool = True


@dataclass(frozen=True)
class Positional(Option):
    """A value that is typed without a name."""

    unset: bool = True
    positional: bool = True


Device = Annotated[Literal["auto", "cpu", "cuda"], Option("auto|cpu|cuda")]
Settings = Annotated[tuple[str, ...], Unset("KEY=VALUE ...", name="set", repeated=True)]


@dataclass(frozen=True, kw_only=True)
class EncoderSizes:
    """Sizes of an encoder whose weights have no config.json beside them.

    Attributes:
        image_size: side in pixels, or height and width, of the frames that the encoder's table of
            positions is for. This option and the next three are only for weights without a
            config.json.
        num_frames: number of frames that the encoder's table of positions is for.
        num_heads: number of attention heads in each block of the encoder.
        pool_heads: number of attention heads in the encoder's pooling head.
    """

    image_size: Annotated[tuple[int, ...], Unset("PIXELS ...")] = ()
    num_frames: Annotated[int, Unset("N")] = 0
    num_heads: Annotated[int, Unset("N")] = 0
    pool_heads: Annotated[int, Unset("N")] = 0

    def given(self) -> dict[str, Any]:
        """Returns those that were given, as :func:`ivn.load.load_encoder` takes them."""
        sides = self.image_size
        every = {**vars(self), "image_size": sides[0] if len(sides) == 1 else sides}
        return {name: value for name, value in every.items() if getattr(self, name)}


NO_SIZES = EncoderSizes()


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        options: dataclass of its options.
        function: function that runs it, as ``module:name``. It takes the options and returns the
            exit code; its module is imported when the command runs.
    """

    options: Any
    function: str

    @property
    def summary(self) -> str:
        """The line that help shows."""
        return docstring.summary(self.options)

    def load(self) -> Callable[[Any], int]:
        """Imports the function."""
        module, _, name = self.function.partition(":")
        return cast(Callable[[Any], int], getattr(importlib.import_module(module), name))


@dataclass(frozen=True)
class Spec:
    """All that is known of one field of a command's dataclass.

    Attributes:
        field: name of the field.
        kind: type of its value; a dataclass holds further options.
        default: default value; ``dataclasses.MISSING`` makes the option required.
        look: how it is typed.
        text: help text.
    """

    field: str
    kind: Any
    default: Any
    look: Option
    text: str

    @property
    def flag(self) -> str:
        """The name that is typed, such as ``--max-bad``."""
        return "--" + (self.look.name or self.field).replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether the command cannot do without it."""
        return self.default is dataclasses.MISSING

    @property
    def shows_default(self) -> bool:
        """Whether a reader should see the default."""
        return not (self.required or self.look.unset or self.kind is bool)

    def typed_default(self) -> str:
        """Returns the default as it would be typed."""
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def parted(self, word: str) -> tuple[Any, ...]:
        """Returns the values of a word with commas between them.

        Raises:
            UsageError: one of them is not of the option's type.
        """
        kind = typing.get_args(self.kind)[0]
        try:
            return tuple(kind(part) for part in word.split(",") if part)
        except ValueError:
            raise UsageError(
                f"{self.flag} is {word!r}, expected whole numbers with commas between them"
            ) from None


def specs(cls: Any) -> list[Spec]:
    """Returns the fields of a command's dataclass in the order in which help shows them.

    Values without a name come first, then what is required, then the command's own options, then
    those that it inherits, also where it gives them another default, and at last the dataclasses
    inside it.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    texts: dict[str, str] = {}
    owners: dict[str, int] = {}
    for depth, one in reversed(list(enumerate(cls.__mro__[:-1]))):
        texts |= docstring.entries(one)
        owners = dict.fromkeys(vars(one).get("__annotations__", {}), depth) | owners
    found = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        look = Option()
        if typing.get_origin(hint) is Annotated:
            hint, look = hint.__origin__, hint.__metadata__[0]
        found.append(Spec(field.name, hint, field.default, look, texts.get(field.name, "")))

    def order(spec: Spec) -> tuple[bool, bool, bool, int]:
        inside = dataclasses.is_dataclass(spec.kind)
        return not spec.look.positional, not spec.required, inside, owners[spec.field]

    return sorted(found, key=order)


def flat(cls: Any) -> Iterator[Spec]:
    """Yields every option of a command, also those of the dataclasses inside it."""
    for spec in specs(cls):
        if dataclasses.is_dataclass(spec.kind):
            yield from flat(spec.kind)
        else:
            yield spec


def parse(cls: Callable[..., T], arguments: Sequence[str] | None = None) -> T:
    """Reads options with the standard library, where tyro is not installed.

    Args:
        cls: dataclass of the options.
        arguments: words of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=docstring.summary(cls))
    known = [*specs(cls)]
    for spec in known:
        look = spec.look
        names = [spec.field] if look.positional else [*filter(None, [look.short]), spec.flag]
        more: dict[str, Any] = {"help": spec.text.replace("%", "%%")}
        if spec.required and not look.positional:
            more["required"] = True
        elif not spec.required:
            more["default"] = spec.default
        if not look.positional:
            more["dest"] = spec.field
        if spec.kind is bool:
            more["action"] = "store_true"
        else:
            more["metavar"] = look.metavar or None
            if typing.get_origin(spec.kind) is Literal:
                more["choices"] = typing.get_args(spec.kind)
            elif not look.commas:
                more["type"] = spec.kind
        parser.add_argument(*names, **more)
    values = vars(parser.parse_args(arguments))
    for spec in known:
        if spec.look.commas and isinstance(word := values[spec.field], str):
            try:
                values[spec.field] = spec.parted(word)
            except UsageError as error:
                parser.error(str(error))
    return cls(**values)

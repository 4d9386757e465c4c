"""Groups of commands, and how tyro reads the options of one."""

import dataclasses
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import tyro

from ivn import docstring
from ivn.errors import UsageError
from ivn.options import Command, Spec, specs

# Types that are made as the program runs, which no type checker can follow.
_ANNOTATED: Any = Annotated


@dataclass(frozen=True)
class CommandGroup:
    """Commands below one word.

    Attributes:
        summary: the line that help shows.
        commands: the commands by their names, in the order of help.
    """

    summary: str
    commands: Mapping[str, "Command | CommandGroup"]


def read(group: CommandGroup, prog: str, arguments: Sequence[str]) -> tuple[Command, Any]:
    """Returns the command that was typed, and its options.

    Args:
        group: all commands.
        prog: word before them.
        arguments: words behind it.

    Raises:
        UsageError: a word is not the name of a command, or options contradict one another.
        SystemExit: tyro has printed help, or what is wrong with the options.
    """
    if not arguments or arguments[0].startswith("-"):
        _listing(group).cli(prog=prog, description=group.summary, args=arguments)
        raise AssertionError("help was asked for, or a command was not there")
    name, *rest = arguments
    if name not in group.commands:
        raise UsageError(
            f"no command {name!r}, expected {prog} and one of {', '.join(group.commands)}"
        )
    below, prog = group.commands[name], f"{prog} {name}"
    if isinstance(below, CommandGroup):
        return read(below, prog, rest)
    try:
        form = tyro.cli(_form(below.options), prog=prog, args=rest)
    except SystemExit as stop:
        if stop.code == 0:
            _print_notes(below.options)
        raise
    return below, _given(below.options, form)


def _print_notes(options: Any) -> None:
    """Prints below the options what else is to be said of the command."""
    width = min(shutil.get_terminal_size().columns, 100)
    for note in docstring.notes(options):
        print(f"\n{textwrap.fill(note, width, break_on_hyphens=False)}")


def _listing(group: CommandGroup) -> tyro.extras.SubcommandApp:
    """The commands without their options, for the help of a group."""
    app = tyro.extras.SubcommandApp()
    for name, below in group.commands.items():
        app.command(name=name, help=below.summary)(dict)
    return app


def _form(cls: Any) -> Any:
    """A dataclass that tyro reads as the options of ``cls``."""
    fields = []
    for spec in specs(cls):
        if dataclasses.is_dataclass(spec.kind):
            inside = _form(spec.kind)
            marked = _ANNOTATED[inside, tyro.conf.arg(name="", prefix_name=False)]
            fields.append((spec.field, marked, inside()))
        else:
            fields.append((spec.field, _marked(spec), _typed(spec)))
    form = dataclasses.make_dataclass(cls.__name__, fields, frozen=True, kw_only=True)
    form.__doc__ = "\n".join([docstring.summary(cls), *docstring.examples(cls)])
    return form


def _typed(spec: Spec) -> Any:
    """The default in tyro's type; dataclasses take MISSING for none."""
    joined = spec.look.commas and not spec.required
    return spec.typed_default() if joined else spec.default


def _marked(spec: Spec) -> Any:
    """The type of an option with tyro's markers."""
    look, kind = spec.look, spec.kind
    named: dict[str, Any] = {"name": look.name} if look.name else {}
    if look.metavar:
        named["metavar"] = look.metavar
    if not (spec.required or spec.shows_default):
        named["help_behavior_hint"] = ""
    argument = tyro.conf.arg(help=spec.text, aliases=(look.short,) if look.short else None, **named)
    if look.repeated:
        return _ANNOTATED[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, argument]
    if look.positional:
        return _ANNOTATED[kind, tyro.conf.Positional, argument]
    if kind is bool and not spec.default:
        return _ANNOTATED[bool, tyro.conf.FlagCreatePairsOff, argument]
    return _ANNOTATED[str if look.commas else kind, argument]


def _given(cls: Any, form: Any) -> Any:
    """The options that were typed, as an object of ``cls``."""
    values = {}
    for spec in specs(cls):
        value = getattr(form, spec.field)
        if dataclasses.is_dataclass(spec.kind):
            value = _given(spec.kind, value)
        elif spec.look.commas:
            value = spec.parted(value)
        elif spec.look.repeated:
            value = tuple(chain.from_iterable(value))
        values[spec.field] = value
    return cls(**values)

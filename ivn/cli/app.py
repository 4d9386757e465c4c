"""What all commands share: the application that they join, and how options are told."""

from collections.abc import Sequence
from typing import Annotated, Any

import tyro


class UsageError(Exception):
    """The command line contradicts itself or names what does not exist."""


class Commands(tyro.extras.SubcommandApp):
    """Commands by their names.

    Args:
        name: what is typed before them.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._known: dict[str, Any] = {}

    def command(self, *target: Any, name: str, **options: Any) -> Any:  # type: ignore[override]
        """Add a command, as a function or as commands of its own; without either decorate one."""
        self._known[name] = next(iter(target), None)
        return super().command(*target, name=name, **options)

    def check(self, arguments: Sequence[str]) -> None:
        """See that the first of ``arguments`` is a command, also where help is asked for.

        Raises:
            UsageError: it is none.
        """
        if not arguments or arguments[0].startswith("-"):
            return
        if (first := arguments[0]) not in self._known:
            raise UsageError(
                f"no command {first!r}, expected {self._name} and one of {', '.join(self._known)}"
            )
        if isinstance(below := self._known[first], Commands):
            below.check(arguments[1:])


app = Commands("ivn")


def optional(metavar: str) -> object:
    """An argument whose default, nothing, needs no words."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Flag = tyro.conf.FlagCreatePairsOff[Annotated[bool, tyro.conf.arg(help_behavior_hint="")]]

Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
    tyro.conf.arg(name="set", metavar="KEY=VALUE ..."),
]

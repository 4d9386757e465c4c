"""What all commands share: the application that they join, and how options are told."""

from typing import Annotated

import tyro

app = tyro.extras.SubcommandApp()


class UsageError(Exception):
    """The command line contradicts itself or names what does not exist."""


def optional(metavar: str) -> object:
    """An argument whose default, nothing, needs no words."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Flag = tyro.conf.FlagCreatePairsOff[Annotated[bool, tyro.conf.arg(help_behavior_hint="")]]

Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
    tyro.conf.arg(name="set", metavar="KEY=VALUE ..."),
]

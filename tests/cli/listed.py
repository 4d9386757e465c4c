"""All commands of the command line by their whole names."""

from ivn.cli.app import CommandGroup
from ivn.cli.commands import IVN
from ivn.options import Command


def below(group: CommandGroup, prog: str):
    for word, one in group.commands.items():
        if isinstance(one, CommandGroup):
            yield from below(one, f"{prog} {word}")
        else:
            yield f"{prog} {word}".removeprefix("ivn "), one


COMMANDS: dict[str, Command] = dict(below(IVN, "ivn"))
GROUPS = {
    "": IVN,
    **{name: one for name, one in IVN.commands.items() if isinstance(one, CommandGroup)},
}

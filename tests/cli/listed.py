"""All commands of the command line by their whole names."""

from ivn.cli.app import Command, Group
from ivn.cli.commands import IVN


def below(group: Group, prog: str):
    for word, one in group.commands.items():
        if isinstance(one, Group):
            yield from below(one, f"{prog} {word}")
        else:
            yield f"{prog} {word}".removeprefix("ivn "), one


COMMANDS: dict[str, Command] = dict(below(IVN, "ivn"))
GROUPS = {"": IVN, **{name: one for name, one in IVN.commands.items() if isinstance(one, Group)}}

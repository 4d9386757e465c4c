"""What all commands share: the application that they join, and how options are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from ivn.errors import UsageError


class Commands(tyro.extras.SubcommandApp):
    """Commands by their names.

    Args:
        name: the word that is typed before the commands.
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


@dataclass(frozen=True)
class _Sizes:
    """Sizes of an encoder whose weights have no config.json beside them; 0 and () are not given.

    Attributes:
        image_size: side in pixels, or height and width, of the frames that the encoder's position
            table is for; for weights without config.json, as are the next three.
        num_frames: frames that the encoder's position table is for.
        num_heads: attention heads of the encoder's blocks.
        pool_heads: attention heads of the encoder's pooling head.
    """

    image_size: Annotated[tuple[int, ...], optional("PIXELS ...")] = ()
    num_frames: Annotated[int, optional("N")] = 0
    num_heads: Annotated[int, optional("N")] = 0
    pool_heads: Annotated[int, optional("N")] = 0

    def given(self) -> dict[str, Any]:
        """Those that were given, as :func:`ivn.load.load_encoder` takes them."""
        sides = self.image_size
        every = {**vars(self), "image_size": sides[0] if len(sides) == 1 else sides}
        return {name: value for name, value in every.items() if getattr(self, name)}


# Wherever an encoder can be given.
Sizes = Annotated[_Sizes, tyro.conf.arg(name="", prefix_name=False)]
NO_SIZES = _Sizes()

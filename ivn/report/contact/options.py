"""Options of ``ivn data view``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.errors import UsageError
from ivn.options import Option, Positional, Settings, Unset


@dataclass(frozen=True, kw_only=True)
class View:
    """Draw the first samples of a training exactly as it will see them: frames, crops and masks.
    $ ivn data view M.parquet -o SHEET.html --set stage.mask=tube

    The page opens offline, and shows for each sample the frame that it is cut from with the crop,
    the frames with their times, the masks of the stage, and the name and labels of the file. Order,
    frames, crops, flips and masks come from the same code and keys as in ivn pretrain.

    Masks that follow a teacher's attention need its weights; where they cannot be read, a line says
    so and the page has no masks. Unusable files are named, counted, and replaced by those that
    training would take.

    Attributes:
        data: a manifest, a folder, a video or a list.
        out: page to write, .html; it must not exist.
        preset: preset whose settings are taken; stage1-tiny by default. ivn config lists them.
        run: run whose settings are taken, instead of a preset.
        clips: number of samples, from the first of the first epoch on.
        seed: seed of the training, instead of that of the settings.
        settings: settings to change, such as stage.mask=tube.
    """

    data: Annotated[str, Positional("M.parquet|FOLDER|LIST")]
    out: Annotated[str, Option("SHEET.html", short="-o")]
    preset: Annotated[str, Unset("PRESET")] = ""
    run: Annotated[str, Unset("RUN")] = ""
    clips: Annotated[int, Option("N")] = 8
    seed: Annotated[int, Unset("N")] = -1
    settings: Settings = ()

    def __post_init__(self) -> None:
        if self.preset and self.run:
            raise UsageError("give --preset PRESET or --run RUN, not both")

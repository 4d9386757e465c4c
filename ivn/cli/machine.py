"""Commands that try out an installation: the demo and the doctor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ivn.options import Option


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run both stages in miniature on the bundled clips, and measure what they have learnt.
    $ ivn demo --short

    It takes minutes on two cores and needs pip install "ivn[demo]". It draws masks, reconstructions
    and features (DIR/demo.png), shows all results on one page (DIR/report.html), and measures how
    well a linear head on frozen features tells ten camera motions apart, over real frames and drawn
    scenes, with no scene in training and test alike. The trained encoder stands beside its
    random-weight twin and the image teacher, with chance, number of clips and 95% intervals. The
    last line printed is all of the measurement as JSON. See
    docs/method.md#camera-motion.

    Attributes:
        out: folder for both runs, the picture and the page; it must be new.
        short: whether to take so few steps and clips that all of it lasts about a minute. This
            shows that everything works; nothing can be learnt in it.
    """

    out: Annotated[Path, Option("DIR")] = Path("ivn-demo")
    short: bool = False


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """List what is installed, compiled and usable, why the rest is not, and what to do about it.

    The exit code is 0 when the core works, 1 otherwise.

    Attributes:
        json: whether to print the list as JSON, for programs.
    """

    json: bool = False


def run_demo(options: Demo) -> int:
    """Runs the demo; returns the exit code."""
    from ivn.demo import FULL, SHORT, demo

    return demo(options.out, SHORT if options.short else FULL)


def run_doctor(options: Doctor) -> int:
    """Prints the list; returns the exit code."""
    from ivn.doctor import doctor

    return doctor(json=options.json)

"""Renders the clips of a world that its folder lacks, whatever the world is."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path

from ivn.corpus.worlds.options import Rendering, World
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.durable import MANIFEST, filling
from ivn.progress import bars, output

SETTINGS = "render.json"

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class ClipFiles:
    """The two files of a clip, relative to the folder of its world.

    Attributes:
        video: path of the video; a clip is complete if it is there.
        known: path of the npz with the ground truth.
    """

    video: Path
    known: Path

    @classmethod
    def named(cls, stem: Path) -> "ClipFiles":
        return cls(stem.with_suffix(".mp4"), stem.with_suffix(".npz"))

    def below(self, folder: Path) -> "ClipFiles":
        """Returns the files with the folder before their names."""
        return ClipFiles(folder / self.video, folder / self.known)


@dataclass(frozen=True)
class Rendered:
    """The result of a rendering.

    Attributes:
        manifest: path of the manifest.
        clips: number of clips rendered by this call.
        kept: number of clips from an earlier call.
        redrawn: number of attempts at a clip that were given up.
    """

    manifest: Path
    clips: int
    kept: int
    redrawn: int


def render_missing(
    out: Path,
    settings: dict[str, object],
    files: Sequence[ClipFiles],
    make: Callable[[list[int]], Iterable[int]],
    row: Callable[[int], Row],
    report: Report,
) -> Rendered:
    """Renders the clips that are not in the folder ``out``, then writes its manifest.

    Args:
        out: folder that is new, empty, or begun by an earlier call with the same settings.
        settings: all that the clips depend on; JSON.
        files: files of each clip.
        make: function that renders the clips of the given numbers, and yields for each, when it is
            there, the number of attempts that were given up.
        row: function from the number of a clip to its row of the manifest.
        report: function that is called with the number of clips that are there, and of all.

    Raises:
        DataError: the folder holds something else or the whole world already.
    """
    out = out.absolute()
    with filling(out, settings, SETTINGS, below=("*",)):
        missing = [number for number, each in enumerate(files) if not (out / each.video).exists()]
        for folder in {files[number].video.parent for number in missing}:
            (out / folder).mkdir(exist_ok=True)
        kept, redrawn = len(files) - len(missing), 0
        for done, given_up in enumerate(make(missing), kept + 1):
            redrawn += given_up
            report(done, len(files))
        write_manifest(out / MANIFEST, [row(number) for number in range(len(files))])
    return Rendered(out / MANIFEST, len(missing), kept, redrawn)


def run(options: Rendering, world: type[World], render: Callable[..., Rendered]) -> int:
    """Renders the world that options describe, with a bar and a summary; returns 0.

    Args:
        options: options of the command; those that ``world`` has too are its settings.
        world: class of the world's settings.
        render: function that renders it.

    Raises:
        DataError: see ``render``.
    """
    wanted = world(**{field.name: getattr(options, field.name) for field in fields(world)})
    console = output()
    start = time.perf_counter()
    with bars(console) as shown:
        bar = shown.add(total=wanted.clips)
        done = render(
            wanted,
            Path(options.out),
            workers=options.processes,
            report=lambda there, of: bar.update(there, total=of),
        )
    seconds = time.perf_counter() - start
    earlier = f", {done.kept} from before" if done.kept else ""
    again = f"; {done.redrawn} times another place was drawn" if done.redrawn else ""
    console.print(
        f"{done.clips} clips rendered{earlier}, {done.clips / seconds:.1f} clips/s{again}",
        markup=False,
    )
    console.print(done.manifest.as_posix(), markup=False)
    return 0


def known_row(
    files: ClipFiles,
    *,
    world: str,
    labels: dict[str, str],
    group: str,
    targets: Sequence[str],
    size: int,
    frames: int,
    rate: Fraction,
    extra: dict[str, str],
) -> Row:
    """Returns the row of a rendered clip.

    Args:
        files: files of the clip.
        world: name of the world.
        labels: name -> class.
        group: scene of the clip, which no split separates.
        targets: names of the arrays in the npz that are answers.
        size: side of a frame in pixels.
        frames: number of frames.
        rate: frames per second.
        extra: further columns.
    """
    return Row(
        files.video.as_posix(),
        labels=labels,
        targets=dict.fromkeys(targets, files.known.as_posix()),
        source=world,
        group=group,
        width=size,
        height=size,
        fps=float(rate),
        frames=frames,
        duration=float(frames / rate),
        codec="h264",
        flip=False,  # left and right are what labels are about
        extra=extra,
    )
